#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

/// The sampled twin of a mixture's routing: tokens draw experts one after the other, without repetition, by
/// weight.
class SampledExperts {
 public:
  SampledExperts(std::vector<double> weights, std::uint64_t seed)
      : weights_(std::move(weights)), random_(seed) {}
  static SampledExperts uniform(int experts, std::uint64_t seed) {
    return {std::vector<double>(static_cast<std::size_t>(experts), 1.0), seed};
  }
  static SampledExperts zipf(int experts, double exponent, std::uint64_t seed) {
    std::vector<double> weights;
    for (int e = 1; e <= experts; ++e) weights.push_back(std::pow(e, -exponent));
    return {weights, seed};
  }

  /// Rows of each expert after `tokens` tokens chose k each.
  std::vector<int> counts(int tokens, int k) {
    std::vector<int> rows(weights_.size(), 0);
    for (int t = 0; t < tokens; ++t) {
      for (const std::size_t e : draw(k)) ++rows[e];
    }
    return rows;
  }
  /// k draws by weight: the k first of exponential clocks with these rates.
  std::vector<std::size_t> draw(int k) {
    std::exponential_distribution<double> clock(1.0);
    std::vector<std::pair<double, std::size_t>> times;
    for (std::size_t e = 0; e < weights_.size(); ++e) times.emplace_back(clock(random_) / weights_[e], e);
    std::nth_element(times.begin(), times.begin() + k - 1, times.end());
    std::vector<std::size_t> chosen;
    for (int i = 0; i < k; ++i) chosen.push_back(times[static_cast<std::size_t>(i)].second);
    return chosen;
  }
  /// Mean of f(counts) over `trials` batches.
  template <class F>
  double mean(int trials, int tokens, int k, F f) {
    double sum = 0;
    for (int i = 0; i < trials; ++i) sum += f(counts(tokens, k));
    return sum / trials;
  }

 private:
  std::vector<double> weights_;
  std::mt19937_64 random_;
};

/// Rows of the fullest of `ranks` ranks that hold the experts in order.
inline double fullest(const std::vector<int>& rows, int ranks) {
  const auto each = static_cast<std::ptrdiff_t>(rows.size()) / ranks;
  int most = 0;
  for (int r = 0; r < ranks; ++r)
    most = std::max(most, std::accumulate(rows.begin() + r * each, rows.begin() + (r + 1) * each, 0));
  return most;
}
inline double hit(const std::vector<int>& rows) {
  return static_cast<double>(rows.size()) - static_cast<double>(std::count(rows.begin(), rows.end(), 0));
}
