#include "scenario/resimulate.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

namespace {
RunResult answer(double rate, int resimulations) {
  Scenario s;
  s.model = "llama-3.1-8b", s.gpu = "h100-sxm";
  s.workload.random_input_len = 1000, s.workload.random_output_len = 200;
  s.workload.num_prompts = 600, s.workload.request_rate = rate;
  RunOptions options;
  options.resimulations = resimulations;
  return run_scenario(s, options);
}
double width(const Interval& i) {
  return i.high / i.low;
}
}  // namespace

TEST_CASE("far from saturation, do re-simulated intervals agree with the first order?") {
  const auto first = answer(2, 0).summary, again = answer(2, 24).summary;
  CHECK(again.confidence->method == "resimulated 24 times");
  const auto& a = *first[Metric::tpot].mean_interval;
  const auto& b = *again[Metric::tpot].mean_interval;
  CHECK(b.low < again[Metric::tpot].mean);
  CHECK(b.high > again[Metric::tpot].mean);
  CHECK(width(b) - 1 == Approx(width(a) - 1).epsilon(0.5));
  CHECK(width(*again.request_throughput_interval) < 1.01);  // the arrivals set the pace
}

TEST_CASE("near saturation, do they show what the first order cannot?") {
  const auto first = answer(24, 0).summary, again = answer(24, 24).summary;
  CHECK(width(*again[Metric::ttft].p99_interval) > width(*first[Metric::tpot].p99_interval));
}

TEST_CASE("are re-simulated intervals the same in every run?") {
  const auto a = answer(10, 8).summary, b = answer(10, 8).summary;
  CHECK(a[Metric::ttft].mean_interval->low == b[Metric::ttft].mean_interval->low);
  CHECK(a[Metric::ttft].p99_interval->high == b[Metric::ttft].p99_interval->high);
}
