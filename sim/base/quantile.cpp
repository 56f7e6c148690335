#include "base/quantile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orrery {

double quantile_sorted(std::span<const double> ascending, double p, PercentileMethod method) {
  const auto n = ascending.size();
  if (n == 0) return std::numeric_limits<double>::quiet_NaN();
  const auto at = [&](double rank) {
    return ascending[static_cast<std::size_t>(std::clamp(rank, 0.0, static_cast<double>(n - 1)))];
  };
  switch (method) {
    case PercentileMethod::nearest:
      return at(std::ceil(p * static_cast<double>(n)) - 1.0);
    case PercentileMethod::mlperf:
      return at(std::floor(p * static_cast<double>(n)));
    case PercentileMethod::linear:
      break;
  }
  const double rank = p * static_cast<double>(n - 1);
  const double below = std::floor(rank);
  const double low = at(below), high = at(below + 1.0);
  return low + (rank - below) * (high - low);
}

}  // namespace orrery
