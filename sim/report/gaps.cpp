#include "report/gaps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"

namespace orrery {

namespace {

/// How many of the gaps first + slope * j (0 <= j < steps, slope >= 0) are at most `value`.
std::int64_t count_up_to(std::int64_t first, std::int64_t slope, std::int64_t steps, std::int64_t value) {
  if (value < first) return 0;
  if (slope == 0) return steps;
  return std::min(steps, (value - first) / slope + 1);
}

}  // namespace

void GapDistribution::add(Ps first, Ps slope, std::int64_t steps, std::int64_t seqs) {
  if (steps <= 0 || seqs <= 0) return;
  // A falling progression is the rising one read from its end.
  if (slope.value < 0) first += slope * (steps - 1), slope = -slope;
  const Progression p{first.value, slope.value, static_cast<std::int32_t>(steps),
                      static_cast<std::int32_t>(seqs)};
  ORRERY_CHECK(p.steps == steps && p.seqs == seqs, "a decode run of more than 2^31 steps");

  const Wide k = steps, f = first.value, d = slope.value, weight = seqs;
  const Wide sum_j = k * (k - 1) / 2, sum_jj = sum_j * (2 * k - 1) / 3;
  sum_ += weight * (f * k + d * sum_j);
  squares_ += weight * (f * f * k + 2 * f * d * sum_j + d * d * sum_jj);
  const std::int64_t longest = first.value + slope.value * (steps - 1);
  min_ = gaps_ == 0 ? first.value : std::min(min_, first.value);
  max_ = gaps_ == 0 ? longest : std::max(max_, longest);
  gaps_ += static_cast<std::uint64_t>(steps) * static_cast<std::uint64_t>(seqs);

  if (exact_ && kept_.size() < max_exact_) {
    kept_.push_back(p);
    return;
  }
  if (exact_) {
    for (const auto& q : kept_) spread(q, histogram_);
    kept_ = {};
    exact_ = false;
  }
  spread(p, histogram_);
}

void GapDistribution::add_after_stall(const DecodeRun& run) {
  add(run.first + run.stall, run.stalled_seqs);
  add(run.first, run.seqs - run.stalled_seqs);
  add(run.first + run.slope, run.slope, run.steps - 1, run.seqs);
}

void GapDistribution::spread(const Progression& p, Histogram& histogram) {
  histogram.add_progression(static_cast<double>(p.first), static_cast<double>(p.slope), p.steps,
                            static_cast<std::uint64_t>(p.seqs));
}

GapDistribution::Nth GapDistribution::nth(std::uint64_t rank, const Histogram& histogram) const {
  const auto place = histogram.place(rank);
  auto low = static_cast<std::int64_t>(Histogram::lower_edge(place.bin));
  auto high = static_cast<std::int64_t>(Histogram::upper_edge(place.bin)) - 1;
  const auto up_to = [](const Progression& p, std::int64_t gap) {
    return static_cast<std::uint64_t>(p.seqs) *
           static_cast<std::uint64_t>(count_up_to(p.first, p.slope, p.steps, gap));
  };
  std::vector<Progression> crossing;
  std::uint64_t shorter = 0;  // gaps of `crossing` that end before the bin; place.before has them too
  for (const auto& p : kept_) {
    if (p.first > high || p.first + p.slope * (p.steps - 1) < low) continue;
    crossing.push_back(p);
    shorter += up_to(p, low - 1);
  }
  const auto count = [&](std::int64_t gap) {
    std::uint64_t n = place.before - shorter;
    for (const auto& p : crossing) n += up_to(p, gap);
    return n;
  };
  // The shortest gap with more than `rank` gaps up to it.
  while (low < high) {
    const std::int64_t probe = low + (high - low) / 2;
    if (count(probe) > rank) {
      high = probe;
    } else {
      low = probe + 1;
    }
  }
  return {low, count(low)};
}

GapDistribution::Histogram GapDistribution::histogram_of_all() const {
  Histogram out = histogram_;
  for (const auto& p : kept_) spread(p, out);
  return out;
}

std::vector<double> GapDistribution::curve(std::span<const double> percentiles) const {
  std::vector<double> out;
  if (gaps_ == 0) return out;
  const Histogram histogram = histogram_of_all();
  for (const double percent : percentiles) {
    const auto rank = static_cast<std::uint64_t>(percent / 100 * static_cast<double>(gaps_ - 1));
    const double gap = Histogram::middle(histogram.place(std::min(rank, gaps_ - 1)).bin) * 1e-9;
    out.push_back(std::clamp(gap, to_ms(Ps(min_)), to_ms(Ps(max_))));
  }
  return out;
}

MetricStats GapDistribution::stats(std::span<const double> percentiles, PercentileMethod method) const {
  MetricStats out;
  out.samples = static_cast<std::int64_t>(gaps_);
  out.exact = exact_;
  if (gaps_ == 0) {
    out.mean = out.std = out.min = out.max = std::numeric_limits<double>::quiet_NaN();
  } else {
    const long double mean = static_cast<long double>(sum_) / static_cast<long double>(gaps_);
    const long double square = static_cast<long double>(squares_) / static_cast<long double>(gaps_);
    out.mean = static_cast<double>(mean * 1e-9L);
    out.std = static_cast<double>(std::sqrt(std::max(0.0L, square - mean * mean)) * 1e-9L);
    out.min = to_ms(Ps(min_)), out.max = to_ms(Ps(max_));
  }

  const Histogram histogram = histogram_of_all();
  const auto quantile = [&](double percent) {
    if (gaps_ == 0) return std::numeric_limits<double>::quiet_NaN();
    const auto rank = quantile_rank(out.samples, percent / 100, method);
    const auto below = static_cast<std::uint64_t>(rank.below), above = static_cast<std::uint64_t>(rank.above);
    if (!exact_) return Histogram::middle(histogram.place(below).bin) * 1e-9;
    const Nth low = nth(below, histogram);
    if (rank.weight == 0 || above < low.up_to) return to_ms(Ps(low.gap));
    const double from = to_ms(Ps(low.gap)), to = to_ms(Ps(nth(above, histogram).gap));
    return from + rank.weight * (to - from);
  };
  for (const double percent : percentiles) out.percentiles.emplace_back(percent, quantile(percent));
  const auto listed = std::find(percentiles.begin(), percentiles.end(), 50.0);
  out.median = listed == percentiles.end()
                   ? quantile(50)
                   : out.percentiles[static_cast<std::size_t>(listed - percentiles.begin())].second;
  return out;
}

}  // namespace orrery
