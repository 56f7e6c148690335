#include "ops/expert_load.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <utility>

#include "base/error.hpp"

namespace orrery {

namespace {

/// Weights of the experts, in any unit.
std::vector<double> load_weights(const MoeParams& params) {
  const auto experts = static_cast<std::size_t>(params.experts);
  if (params.load.shape == LoadShape::histogram) return params.load.histogram;
  std::vector<double> weights(experts, 1.0);
  if (params.load.shape == LoadShape::zipf) {
    for (std::size_t e = 0; e < experts; ++e)
      weights[e] = std::pow(static_cast<double>(e + 1), -params.load.exponent);
  }
  return weights;
}

/// Chances f(w t) that sum to k, where f rises from 0 to 1.
template <class F>
std::vector<double> chances_summing_to(double k, const std::vector<double>& weights, F f) {
  const auto sum = [&](double t) {
    return std::accumulate(weights.begin(), weights.end(), 0.0,
                           [&](double s, double w) { return s + f(w * t); });
  };
  double low = 0, high = 1 / *std::max_element(weights.begin(), weights.end());
  while (sum(high) < k && high < 1e300) high *= 2;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    (sum(middle) < k ? low : high) = middle;
  }
  std::vector<double> out;
  out.reserve(weights.size());
  for (const double w : weights) out.push_back(f(w * high));
  return out;
}

std::vector<double> chances_of(const MoeParams& params, const std::vector<double>& weights, double k) {
  const auto experts = static_cast<double>(params.experts);
  if (k <= 0) return std::vector<double>(weights.size(), 0.0);
  if (params.load.shape == LoadShape::uniform || k >= experts)
    return std::vector<double>(weights.size(), std::min(k / experts, 1.0));
  if (params.load.shape == LoadShape::histogram)
    return chances_summing_to(k, weights, [](double x) { return std::min(x, 1.0); });
  return chances_summing_to(k, weights, [](double x) { return -std::expm1(-x); });
}

/// How many rows there are, with a given mean and variance: binomial (Poisson when they are equal), as a
/// table; where the mean is large normal with its first Edgeworth term.
class RowCount {
 public:
  RowCount(double mean, double variance)
      : mean_(mean),
        sd_(std::sqrt(variance)),
        skewness_(variance > 0 ? (2 * variance / mean - 1) / sd_ : 0) {  // (1 - 2p) / sd of a binomial
    const bool certain = variance <= 1e-12 * mean;
    if (!certain && mean <= kNormalFrom) tabulate(1 - variance / mean);
    if (certain || (mean <= kNormalFrom && below_.empty())) sd_ = 0;
  }
  /// P(count <= x).
  double cdf(std::int64_t x) const {
    if (!below_.empty()) {
      return x < 0 ? 0 : x <= last() ? below_[static_cast<std::size_t>(x)] : 1;
    }
    if (sd_ == 0) return x >= std::llround(mean_) ? 1 : 0;
    const double z = (static_cast<double>(x) + 0.5 - mean_) / sd_;
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    return std::clamp(0.5 * std::erfc(-z / std::numbers::sqrt2) - skewness_ / 6 * (z * z - 1) * density, 0.0,
                      1.0);
  }
  /// Counts between which nearly all of it lies.
  std::int64_t first() const { return below_.empty() ? std::llround(std::max(mean_ - 9 * sd_, 0.0)) : 0; }
  std::int64_t last() const {
    return below_.empty() ? std::llround(mean_ + 9 * sd_) : static_cast<std::int64_t>(below_.size()) - 1;
  }

 private:
  static constexpr double kNormalFrom = 200;
  void tabulate(double p) {
    const double trials = p > 1e-9 ? mean_ / p : 0, most = mean_ + 12 * sd_ + 20;
    double chance = trials > 0 ? std::exp(trials * std::log1p(-p)) : std::exp(-mean_), sum = 0;
    for (double x = 0; x < most && chance > 0; ++x) {
      sum += chance, below_.push_back(std::min(sum, 1.0));
      chance *= trials > 0 ? std::max(trials - x, 0.0) / (x + 1) * p / (1 - p) : mean_ / (x + 1);
    }
  }
  double mean_, sd_, skewness_;
  std::vector<double> below_;
};

RowCount rows_of_expert(double chance, double tokens) {
  return {tokens * chance, tokens * chance * (1 - chance)};
}

/// Sum over experts of f(chance), experts of equal chances computed once.
template <class F>
double sum_over(const std::vector<double>& chances, F f) {
  std::map<double, int> distinct;
  for (const double q : chances) ++distinct[q];
  double sum = 0;
  for (const auto& [q, count] : distinct) {
    if (q > 0) sum += count * f(q);
  }
  return sum;
}

double total(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double log_choose(double n, double k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

}  // namespace

double chance_missed(double n, double part, double k) {
  return n - part < k ? 0 : std::exp(log_choose(n - part, k) - log_choose(n, k));
}

std::vector<double> expert_chances(const MoeParams& params) {
  const auto weights = load_weights(params);
  const double computing = 1 - params.idle_share();
  if (params.active_shares.empty()) return chances_of(params, weights, params.active * computing);
  std::vector<double> mean(weights.size(), 0.0);
  for (std::size_t k = 1; k < params.active_shares.size(); ++k) {
    const auto of_k = chances_of(params, weights, static_cast<double>(k) * computing);
    for (std::size_t e = 0; e < mean.size(); ++e) mean[e] += params.active_shares[k] * of_k[e];
  }
  return mean;
}

double expected_distinct(const std::vector<double>& chances, double tokens) {
  return sum_over(chances, [&](double q) { return 1 - std::pow(1 - q, tokens); });
}

double kept_share(const std::vector<double>& chances, double tokens, double capacity) {
  const double rows = tokens * total(chances);
  if (rows <= 0) return 1;
  const auto limit = static_cast<std::int64_t>(std::floor(capacity));
  return std::min(
      1.0, sum_over(chances, [&](double q) {
             const auto count = rows_of_expert(q, tokens);
             double kept = 0;  // E[min(X, c)] = sum over x < c of P(X > x)
             for (std::int64_t x = std::min(count.first(), limit); x < limit; ++x) kept += 1 - count.cdf(x);
             return kept + static_cast<double>(std::max<std::int64_t>(0, std::min(count.first(), limit)));
           }) / rows);
}

double padded_rows(const std::vector<double>& chances, double tokens, int tile) {
  if (tile <= 1) return tokens * total(chances);
  return sum_over(chances, [&](double q) {
    const auto count = rows_of_expert(q, tokens);
    double tiles = 0;  // E[ceil(X / t)] = sum over j of P(X > j t)
    for (std::int64_t x = 0; x <= count.last(); x += tile) tiles += 1 - count.cdf(x);
    return tiles * tile;
  });
}

std::vector<ExpertRank> place_experts(const std::vector<double>& chances, int ranks, const ExpertPlan& plan) {
  const std::size_t copies = chances.size() + static_cast<std::size_t>(plan.redundant);
  const auto n = static_cast<std::size_t>(ranks);
  ORRERY_CHECK(copies % n == 0, "experts and their copies divide over the ranks");
  std::vector<ExpertRank> placed(n);
  const std::size_t places = copies / n;
  if (!plan.balance && plan.redundant == 0) {
    for (std::size_t e = 0; e < copies; ++e) placed[e / places].push_back(chances[e]);
    return placed;
  }
  std::vector<int> copies_of(chances.size(), 1);
  for (int i = 0; i < plan.redundant; ++i) {
    std::size_t most = 0;
    for (std::size_t e = 1; e < chances.size(); ++e) {
      if (chances[e] / copies_of[e] > chances[most] / copies_of[most]) most = e;
    }
    ++copies_of[most];
  }
  std::vector<double> loads;
  for (std::size_t e = 0; e < chances.size(); ++e)
    loads.insert(loads.end(), static_cast<std::size_t>(copies_of[e]), chances[e] / copies_of[e]);
  std::sort(loads.rbegin(), loads.rend());
  std::vector<double> sums(n, 0.0);
  for (const double load : loads) {
    std::size_t least = n;
    for (std::size_t r = 0; r < n; ++r) {
      if (placed[r].size() < places && (least == n || sums[r] < sums[least])) least = r;
    }
    placed[least].push_back(load), sums[least] += load;
  }
  return placed;
}

double slowest_rows(const std::vector<ExpertRank>& placed, double tokens) {
  double copies = 0;
  std::map<std::pair<double, double>, int> ranks;  // mean and variance -> how many such ranks
  for (const auto& rank : placed) copies += static_cast<double>(rank.size());
  const double correction = copies > 1 ? copies / (copies - 1) : 0;
  for (const auto& rank : placed) {
    const double mean = tokens * total(rank);
    double variance = 0;
    for (const double q : rank) variance += tokens * q * (1 - q) * correction;
    ++ranks[{mean, std::min(variance, mean)}];
  }
  const double most = ranks.rbegin()->first.first;
  if (placed.size() == 1 || most <= 0) return most;
  std::vector<std::pair<RowCount, int>> counts;
  std::int64_t first = 0, last = 0;
  for (const auto& [moments, n] : ranks) {
    if (moments.first <= 0) continue;
    counts.emplace_back(RowCount(moments.first, moments.second), n);
    first = std::max(first, counts.back().first.first()), last = std::max(last, counts.back().first.last());
  }
  // E[max] = sum of P(max > x), by the middles of up to 400 stretches.
  const std::int64_t stretch = (last - first) / 400 + 1;
  auto sum = static_cast<double>(first);
  for (std::int64_t x = first; x <= last; x += stretch) {
    double all_below = 1;
    for (const auto& [count, n] : counts) all_below *= std::pow(count.cdf(x + stretch / 2), n);
    sum += static_cast<double>(stretch) * (1 - all_below);
  }
  return std::max({sum, most, std::min(1.0, tokens)});
}

double placement_imbalance(const std::vector<ExpertRank>& placed) {
  double sum = 0, most = 0;
  for (const auto& rank : placed) sum += total(rank), most = std::max(most, total(rank));
  return sum > 0 ? most / (sum / static_cast<double>(placed.size())) : 1;
}

double expected_parts(const MoeParams& params, int parts) {
  const double k = params.mean_active(), experts = params.experts, groups = params.groups;
  const double chosen = std::min(params.topk_groups, params.groups), part = experts / parts;
  const double reachable = experts * chosen / groups, group = experts / groups;
  if (part <= group) return parts * chosen / groups * (1 - chance_missed(reachable, part, k));
  // A part holds several groups, j of which are among the chosen.
  const double held = part / group;
  double hit = 0;
  for (double j = std::max(0.0, chosen - (groups - held)); j <= std::min(held, chosen); ++j) {
    const double chance =
        std::exp(log_choose(held, j) + log_choose(groups - held, chosen - j) - log_choose(groups, chosen));
    hit += chance * (1 - chance_missed(reachable, j * group, k));
  }
  return parts * hit;
}

}  // namespace orrery
