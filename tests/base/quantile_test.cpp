#include "base/quantile.hpp"

#include <vector>

#include <catch2/catch.hpp>

using namespace orrery;

TEST_CASE("is a percentile what numpy, GuideLLM and MLPerf would print?") {
  const std::vector<double> v = {10, 20, 30, 40};
  CHECK(quantile_sorted(v, 0.5) == Approx(25));     // numpy.percentile([10,20,30,40], 50)
  CHECK(quantile_sorted(v, 0.99) == Approx(39.7));  // numpy: 10 + 2.97 * 10
  CHECK(quantile_sorted(v, 0.5, PercentileMethod::nearest) == 20);
  CHECK(quantile_sorted(v, 0.51, PercentileMethod::nearest) == 30);
  CHECK(quantile_sorted(v, 0.5, PercentileMethod::mlperf) == 30);  // sorted[floor(4 * 0.5)]
  CHECK(quantile_sorted(v, 1.0, PercentileMethod::mlperf) == 40);
}
