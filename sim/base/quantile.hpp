#pragma once

#include <cstdint>
#include <span>

namespace orrery {

/// How a percentile is read from a sorted sample; see docs/reference/metrics.
enum class PercentileMethod {
  linear,   ///< numpy's default, type 7: rank p*(n-1), interpolated. vLLM, aiperf, genai-bench.
  nearest,  ///< the smallest value whose cumulative share is at least p. GuideLLM.
  mlperf,   ///< sorted[floor(n*p)], 0-based. MLPerf LoadGen.
};

/// The order statistics a quantile is made of: x[below] + weight * (x[above] - x[below]), ranks from 0.
struct QuantileRank {
  std::int64_t below = 0, above = 0;
  double weight = 0;
};

/// Which ranks of n >= 1 ascending values the p-quantile (0 <= p <= 1) reads: for samples that are counted or
/// selected from instead of sorted.
QuantileRank quantile_rank(std::int64_t n, double p, PercentileMethod method = PercentileMethod::linear);

/// The p-quantile (0 <= p <= 1) of an ascending sample; NaN when it is empty.
double quantile_sorted(std::span<const double> ascending, double p,
                       PercentileMethod method = PercentileMethod::linear);

}  // namespace orrery
