#include "activity_trace.hpp"

#include <catch2/catch.hpp>

#include "meter.hpp"

using namespace orrery::profile;
using orrery::kernels::Timing;
using Kind = ActivityRecord::Kind;

namespace {
// Two launches: a memset, two kernels with a gap and a copy beside them; then one kernel. Out of order, as
// buffers come.
const std::vector<ActivityRecord> kTrace = {
    {Kind::kernel, 1300, 1400}, {Kind::marker, 2000, 2001}, {Kind::marker, 1000, 1050},
    {Kind::set, 1100, 1120},    {Kind::kernel, 1150, 1250}, {Kind::kernel, 2100, 2150},
    {Kind::copy, 1200, 1500},   {Kind::copy, 2160, 2260},   {Kind::kernel, 10, 20}};
}  // namespace

TEST_CASE("is a launch's time the sum of its kernels and memsets, without gaps or what came before?",
          "[profile]") {
  const auto seconds = seconds_per_launch(kTrace, Timing::kernels, 2);
  REQUIRE(seconds.size() == 2);
  CHECK(seconds[0] == Approx(220e-9));
  CHECK(seconds[1] == Approx(50e-9));
}

TEST_CASE("are copies timed by their copies, and spans from first to last?", "[profile]") {
  CHECK(seconds_per_launch(kTrace, Timing::copies, 2)[0] == Approx(300e-9));
  CHECK(seconds_per_launch(kTrace, Timing::span, 2)[0] == Approx(400e-9));
  CHECK(seconds_per_launch(kTrace, Timing::span, 2)[1] == Approx(160e-9));
}

TEST_CASE("is a trace with lost records refused instead of averaged?", "[profile]") {
  CHECK_THROWS_AS(seconds_per_launch(kTrace, Timing::kernels, 3), MeterError);
  CHECK_THROWS_AS(seconds_per_launch({{Kind::marker, 1, 2}}, Timing::kernels, 1), MeterError);
  CHECK_THROWS_AS(seconds_per_launch({}, Timing::kernels, 1), MeterError);
}
