#include "base/quantile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orrery {

QuantileRank quantile_rank(std::int64_t n, double p, PercentileMethod method) {
  const auto whole = [&](double rank) {
    return static_cast<std::int64_t>(std::clamp(rank, 0.0, static_cast<double>(n - 1)));
  };
  const auto single = [](std::int64_t rank) { return QuantileRank{rank, rank, 0}; };
  switch (method) {
    case PercentileMethod::nearest:
      return single(whole(std::ceil(p * static_cast<double>(n)) - 1.0));
    case PercentileMethod::mlperf:
      return single(whole(std::floor(p * static_cast<double>(n))));
    case PercentileMethod::linear:
      break;
  }
  const double rank = p * static_cast<double>(n - 1);
  const double below = std::floor(rank);
  return {whole(below), whole(below + 1.0), rank - below};
}

double quantile_sorted(std::span<const double> ascending, double p, PercentileMethod method) {
  if (ascending.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = quantile_rank(static_cast<std::int64_t>(ascending.size()), p, method);
  const double low = ascending[static_cast<std::size_t>(rank.below)];
  const double high = ascending[static_cast<std::size_t>(rank.above)];
  return low + rank.weight * (high - low);
}

}  // namespace orrery
