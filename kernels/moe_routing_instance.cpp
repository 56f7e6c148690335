#include "moe_routing_instance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "moe_routing.hpp"
#include "ops/moe.hpp"
#include "random.hpp"

// Its launches one after the other, as an engine makes them, but for the matrix products, whose results are
// random rows here.

namespace orrery::kernels {
namespace {

using Indices = std::vector<std::int32_t>;
constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kTolerance = 8e-3;

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

struct RoutingSizes {
  explicit RoutingSizes(const Case& c)
      : tokens(static_cast<int>(c.call.dims[0])),
        experts(static_cast<int>(c.call.dims[1])),
        top_k(static_cast<int>(c.call.dims[2])),
        hidden(static_cast<int>(c.call.dims[3])) {}
  /// Tokens an expert takes where experts choose.
  int capacity() const { return std::clamp(ceil_div(tokens * top_k, experts), 1, tokens); }
  int tokens, experts, top_k, hidden;
};

/// logits [tokens, experts] as scores in double precision.
std::vector<double> reference_scores(const std::vector<double>& logits, int experts, bool sigmoid) {
  std::vector<double> scores(logits);
  for (double& s : scores) s = sigmoid ? 1 / (1 + std::exp(-s)) : std::exp(s);
  for (std::size_t row = 0; !sigmoid && row < scores.size(); row += index(experts)) {
    const double sum = std::accumulate(&scores[row], &scores[row] + experts, 0.0);
    for (int e = 0; e < experts; ++e) scores[row + index(e)] /= sum;
  }
  return scores;
}

/// What outputs are compared with, element by element.
struct Comparison {
  std::vector<double> out, reference;
  void add(double got, double wanted) { out.push_back(got), reference.push_back(wanted); }
  Check check(double tolerance) const { return compare(out, reference, tolerance); }
};

/// Tokens choose experts.
class TokenChoice final : public Instance {
 public:
  explicit TokenChoice(const Case& c)
      : sizes_(c),
        alignment_(static_cast<int>(c.option("alignment", 1))),
        logits_(inputs(sizes_.experts, c.seed, 4)) {
    const std::int64_t choices = std::int64_t{sizes_.tokens} * sizes_.top_k;
    rows_ = max_moe_rows(sizes_.tokens, sizes_.experts, sizes_.top_k, alignment_);
    expert_ = poisoned_array<std::int32_t>(index(choices)),
    row_ = poisoned_array<std::int32_t>(index(choices));
    weight_ = poisoned_array<float>(index(choices)), token_ = poisoned_array<std::int32_t>(index(rows_));
    start_ = poisoned_array<std::int32_t>(index(sizes_.experts));
    count_ = poisoned_array<std::int32_t>(index(sizes_.experts));
    workspace_ =
        poisoned_array<std::int32_t>(sort_by_expert_workspace(sizes_.tokens, sizes_.experts, sizes_.top_k));
    x_ = inputs(sizes_.hidden, c.seed + 1, 1);
    permuted_ = poisoned_array<bf16>(index(rows_ * sizes_.hidden));
    made_ = random_array<bf16>(index(rows_ * sizes_.hidden), c.seed + 2);
    y_ = poisoned_array<bf16>(index(std::int64_t{sizes_.tokens} * sizes_.hidden));
    fill_arguments(c);
  }

  void launch(StreamRef stream) override {
    choose_experts(choose_, stream);
    sort_by_expert(sort_, stream);
    permute_rows(permute_, stream);
    combine_rows(combine_, stream);
  }

  /// The choice by its values (two experts may be as good to rounding), the sort exactly, the rows after it.
  Check check() override {
    Comparison comparison;
    if (!check_choice(comparison) || !check_sort() || !check_permutation()) return {kInfinite, kTolerance};
    const auto weight = to_doubles(weight_), made = to_doubles(made_), y = to_doubles(y_);
    const Indices row = row_.download();
    for (int t = 0; t < sizes_.tokens; ++t) {
      for (int i = 0; i < sizes_.hidden; ++i) {
        double sum = 0;
        for (int j = 0; j < sizes_.top_k; ++j) {
          const std::size_t at = index(t * sizes_.top_k + j);
          sum += weight[at] * made[index(std::int64_t{row[at]} * sizes_.hidden + i)];
        }
        comparison.add(y[index(std::int64_t{t} * sizes_.hidden + i)], sum);
      }
    }
    return comparison.check(kTolerance);
  }

 private:
  DeviceArray<bf16> inputs(int width, std::uint64_t seed, float scale) const {
    return random_array<bf16>(index(std::int64_t{sizes_.tokens} * width), seed, scale);
  }
  void fill_arguments(const Case& c) {
    const auto option = [&](const char* name, int otherwise) {
      return static_cast<int>(c.option(name, otherwise));
    };
    if (option("bias", 0) != 0) bias_ = random_array<float>(index(sizes_.experts), c.seed + 3, 0.2F);
    choose_.logits = logits_.data(), choose_.bias = bias_.data(), choose_.expert = expert_.data();
    choose_.weight = weight_.data(), choose_.tokens = sizes_.tokens, choose_.experts = sizes_.experts;
    choose_.top_k = sizes_.top_k, choose_.groups = option("groups", 1);
    choose_.top_groups = option("top_groups", 1), choose_.sigmoid = option("sigmoid", 0) != 0;
    choose_.renormalise = option("renormalise", 1) != 0;
    choose_.scale = static_cast<float>(option("scale_percent", 100)) / 100;
    sort_.expert = expert_.data(), sort_.row = row_.data(), sort_.token = token_.data();
    sort_.start = start_.data(), sort_.count = count_.data(), sort_.workspace = workspace_.data();
    sort_.tokens = sizes_.tokens, sort_.experts = sizes_.experts, sort_.top_k = sizes_.top_k;
    sort_.alignment = alignment_;
    permute_.x = x_.data(), permute_.row = row_.data(), permute_.out = permuted_.data();
    permute_.tokens = sizes_.tokens, permute_.top_k = sizes_.top_k, permute_.hidden = sizes_.hidden;
    combine_.x = made_.data(), combine_.row = row_.data(), combine_.weight = weight_.data();
    combine_.y = y_.data(), combine_.tokens = sizes_.tokens, combine_.choices = sizes_.top_k;
    combine_.hidden = sizes_.hidden;
  }

  /// Scores with bias of one token, those of groups that may not be chosen from far below all others.
  std::vector<double> eligible(const double* scores, const std::vector<double>& bias) const {
    std::vector<double> values(scores, scores + sizes_.experts);
    for (std::size_t e = 0; e < bias.size(); ++e) values[e] += bias[e];
    const int size = sizes_.experts / choose_.groups;
    std::vector<std::pair<double, int>> groups;
    for (int g = 0; g < choose_.groups; ++g) {
      std::vector<double> members(values.begin() + g * size, values.begin() + (g + 1) * size);
      std::sort(members.rbegin(), members.rend());
      groups.emplace_back(-members[0] - (bias.empty() || size == 1 ? 0 : members[1]), g);
    }
    std::sort(groups.begin(), groups.end());
    for (int i = choose_.top_groups; choose_.groups > 1 && i < choose_.groups; ++i) {
      const int first = groups[index(i)].second * size;
      std::fill(values.begin() + first, values.begin() + first + size, -kInfinite);
    }
    return values;
  }

  bool check_choice(Comparison& comparison) const {
    const auto scores = reference_scores(to_doubles(logits_), sizes_.experts, choose_.sigmoid);
    const auto bias = to_doubles(bias_), weight = to_doubles(weight_);
    const Indices expert = expert_.download();
    for (int t = 0; t < sizes_.tokens; ++t) {
      const double* own = &scores[index(t * sizes_.experts)];
      auto values = eligible(own, bias), sorted = values;
      std::sort(sorted.rbegin(), sorted.rend());
      double sum = 0;
      for (int j = 0; j < sizes_.top_k; ++j) {
        const std::int32_t e = expert[index(t * sizes_.top_k + j)];
        if (e < 0 || e >= sizes_.experts || values[index(e)] == -kInfinite) return false;
        comparison.add(values[index(e)], sorted[index(j)]);
        values[index(e)] = -kInfinite, sum += own[e];  // none is chosen twice
      }
      const double factor = static_cast<double>(choose_.scale) / (choose_.renormalise ? sum : 1);
      for (int j = 0; j < sizes_.top_k; ++j) {
        const std::size_t at = index(t * sizes_.top_k + j);
        comparison.add(weight[at], own[expert[at]] * factor);
      }
    }
    return true;
  }

  bool check_sort() const {
    const Indices expert = expert_.download(), row = row_.download(), token = token_.download();
    const Indices start = start_.download(), count = count_.download();
    int next = 0;
    for (int e = 0; e < sizes_.experts; ++e) {
      if (start[index(e)] != next) return false;
      for (std::size_t i = 0; i < expert.size(); ++i) {
        if (expert[i] != e) continue;
        if (row[i] != next || token[index(next)] != static_cast<int>(i) / sizes_.top_k) return false;
        ++next;
      }
      if (count[index(e)] != next - start[index(e)]) return false;
      for (; next % alignment_ != 0; ++next) {
        if (token[index(next)] != -1) return false;
      }
    }
    return true;
  }

  bool check_permutation() const {
    const auto x = x_.download(), permuted = permuted_.download();
    const Indices row = row_.download();
    for (std::size_t i = 0; i < row.size(); ++i) {
      const auto from = static_cast<std::int64_t>(i) / sizes_.top_k * sizes_.hidden;
      for (int j = 0; j < sizes_.hidden; ++j) {
        if (permuted[index(std::int64_t{row[i]} * sizes_.hidden + j)].bits != x[index(from + j)].bits)
          return false;
      }
    }
    return true;
  }

  RoutingSizes sizes_;
  int alignment_;
  std::int64_t rows_ = 0;
  DeviceArray<bf16> logits_, x_, permuted_, made_, y_;
  DeviceArray<float> bias_, weight_;
  DeviceArray<std::int32_t> expert_, row_, token_, start_, count_, workspace_;
  ChooseExpertsArgs choose_;
  SortByExpertArgs sort_;
  PermuteArgs permute_;
  CombineArgs combine_;
};

/// Experts choose tokens.
class ExpertChoice final : public Instance {
 public:
  explicit ExpertChoice(const Case& c) : sizes_(c) {
    const std::int64_t rows = std::int64_t{sizes_.capacity()} * sizes_.experts, tokens = sizes_.tokens;
    logits_ = random_array<bf16>(index(tokens * sizes_.experts), c.seed, 4.0F);
    scores_ = poisoned_array<float>(index(tokens * sizes_.experts));
    row_ = poisoned_array<std::int32_t>(index(tokens * sizes_.experts));
    token_ = poisoned_array<std::int32_t>(index(rows)), weight_ = poisoned_array<float>(index(rows));
    x_ = random_array<bf16>(index(tokens * sizes_.hidden), c.seed + 1);
    permuted_ = poisoned_array<bf16>(index(rows * sizes_.hidden));
    made_ = random_array<bf16>(index(rows * sizes_.hidden), c.seed + 2);
    y_ = poisoned_array<bf16>(index(tokens * sizes_.hidden));
    choose_ = {logits_.data(), scores_.data(), token_.data(),  weight_.data(),
               row_.data(),    sizes_.tokens,  sizes_.experts, sizes_.capacity()};
    permute_.x = x_.data(), permute_.token = token_.data(), permute_.out = permuted_.data();
    permute_.rows = rows, permute_.hidden = sizes_.hidden;
    combine_.x = made_.data(), combine_.row = row_.data(), combine_.weight = weight_.data();
    combine_.y = y_.data(), combine_.tokens = tokens, combine_.choices = sizes_.experts;
    combine_.hidden = sizes_.hidden, combine_.weight_of_row = true;
  }

  void launch(StreamRef stream) override {
    choose_tokens(choose_, stream);
    permute_rows(permute_, stream);
    combine_rows(combine_, stream);
  }

  /// The choice by its values, in the order of tokens; the rows after it.
  Check check() override {
    Comparison comparison;
    const auto scores = reference_scores(to_doubles(logits_), sizes_.experts, false);
    const auto weight = to_doubles(weight_), made = to_doubles(made_), y = to_doubles(y_);
    const Indices token = token_.download();
    const auto x = x_.download(), permuted = permuted_.download();
    std::vector<double> sums(y.size());
    for (int e = 0; e < sizes_.experts; ++e) {
      std::vector<double> column, chosen;
      for (int t = 0; t < sizes_.tokens; ++t) column.push_back(scores[index(t * sizes_.experts + e)]);
      for (int c = 0; c < sizes_.capacity(); ++c) {
        const int row = e * sizes_.capacity() + c, t = token[index(row)];
        if (t < 0 || t >= sizes_.tokens || (c > 0 && t <= token[index(row - 1)]))
          return {kInfinite, kTolerance};
        chosen.push_back(column[index(t)]), comparison.add(weight[index(row)], column[index(t)]);
        for (int i = 0; i < sizes_.hidden; ++i) {
          const std::size_t of_row = index(std::int64_t{row} * sizes_.hidden + i),
                            of_token = index(std::int64_t{t} * sizes_.hidden + i);
          if (permuted[of_row].bits != x[of_token].bits) return {kInfinite, kTolerance};
          sums[of_token] += weight[index(row)] * made[of_row];
        }
      }
      std::sort(column.rbegin(), column.rend()), std::sort(chosen.rbegin(), chosen.rend());
      for (std::size_t i = 0; i < chosen.size(); ++i) comparison.add(chosen[i], column[i]);
    }
    for (std::size_t i = 0; i < y.size(); ++i) comparison.add(y[i], sums[i]);
    return comparison.check(kTolerance);
  }

 private:
  RoutingSizes sizes_;
  DeviceArray<bf16> logits_, x_, permuted_, made_, y_;
  DeviceArray<float> scores_, weight_;
  DeviceArray<std::int32_t> token_, row_;
  ChooseTokensArgs choose_;
  PermuteArgs permute_;
  CombineArgs combine_;
};

}  // namespace

std::unique_ptr<Instance> make_moe_routing(const Case& c) {
  if (c.call.cls == &kMoeRouting) return std::make_unique<TokenChoice>(c);
  return std::make_unique<ExpertChoice>(c);
}

}  // namespace orrery::kernels
