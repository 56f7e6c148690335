#include <catch2/catch.hpp>

#include "support/reference_data.hpp"
#include "workload/source.hpp"

using namespace orrery;

TEST_CASE("does the Azure conversation trace replay as published?") {
  REQUIRE_REFERENCE_DATA(data);
  WorkloadSpec spec;
  spec.trace = data + "/traces/azure2023_conv.csv";
  const auto source = make_source(spec, 1);
  Request r;
  std::int64_t n = 0;
  Ps last{0};
  while (source->next(r)) ++n, last = r.arrival;
  CHECK(n == 19366);
  CHECK(to_seconds(last).value == Approx(3501.7).margin(0.1));
}
