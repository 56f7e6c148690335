#pragma once

#include <span>

namespace orrery {

/// How a percentile is read from a sorted sample; see docs/reference/metrics.
enum class PercentileMethod {
  linear,   ///< numpy's default, type 7: rank p*(n-1), interpolated. vLLM, aiperf, genai-bench.
  nearest,  ///< the smallest value whose cumulative share is at least p. GuideLLM.
  mlperf,   ///< sorted[floor(n*p)], 0-based. MLPerf LoadGen.
};

/// The p-quantile (0 <= p <= 1) of an ascending sample; NaN when it is empty.
double quantile_sorted(std::span<const double> ascending, double p,
                       PercentileMethod method = PercentileMethod::linear);

}  // namespace orrery
