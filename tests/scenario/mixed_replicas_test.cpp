#include "scenario/mixed_replicas.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"

using namespace orrery;

namespace {

RunResult run(Assignments more) {
  Assignments all{{"model", "llama-3.1-8b", "flag", "", 0},
                  {"num_prompts", "400", "flag", "", 0},
                  {"request_rate", "20", "flag", "", 0}};
  for (auto& a : more) {
    a.origin = "flag";
    all.push_back(a);
  }
  return run_scenario(resolve(all));
}

Assignment with(const std::string& name, const std::string& value) {
  return {name, value, "", "", 0};
}

}  // namespace

TEST_CASE("are device, split, number and price of mixed replicas read, and anything else refused?") {
  const auto kinds = parse_mixed_replicas("h100-sxm=2@2.5,l40s/4=3,a100-sxm-80g");
  REQUIRE(kinds.size() == 3);
  CHECK(kinds[0].gpu == "h100-sxm");
  CHECK(kinds[0].replicas == 2);
  CHECK(*kinds[0].usd_per_gpu_hour == 2.5);
  CHECK(kinds[1].gpu == "l40s");
  CHECK(kinds[1].tensor_parallel_size == 4);
  CHECK(kinds[2].replicas == 1);
  CHECK_THROWS_AS(parse_mixed_replicas("h100-sxm=0"), ConfigError);
  CHECK_THROWS_AS(parse_mixed_replicas("=2"), ConfigError);
}

TEST_CASE("are mixed replicas of one device that device's replicas?") {
  const auto plain = run({with("gpu", "h100-sxm"), with("replicas", "3")});
  const auto mixed = run({with("mixed_replicas", "h100-sxm=1,h100-sxm=2")});
  CHECK(mixed.simulation.end == plain.simulation.end);
  CHECK(mixed.simulation.steps == plain.simulation.steps);
  CHECK(mixed.summary[Metric::ttft].mean == plain.summary[Metric::ttft].mean);
  CHECK(mixed.summary[Metric::tpot].mean == plain.summary[Metric::tpot].mean);
}

TEST_CASE("does a cost-aware router give each device what it can do, where turns overload the slow one?") {
  const std::string pool = "h100-sxm=1@2.5,l40s=1@2.5";
  const auto turns = run({with("mixed_replicas", pool)});
  const auto aware = run({with("mixed_replicas", pool), with("router", "cost_aware")});
  REQUIRE(turns.devices.size() == 2);
  CHECK(turns.devices[0].totals.completed == turns.devices[1].totals.completed);
  CHECK(aware.devices[0].totals.completed > 2 * aware.devices[1].totals.completed);
  CHECK(aware.devices[0].totals.completed + aware.devices[1].totals.completed == 400);
  CHECK(aware.summary[Metric::e2el].mean < turns.summary[Metric::e2el].mean);
  CHECK(aware.summary.info.all_gpus() == 2);
  CHECK(*aware.summary.info.usd_per_gpu_hour == Approx(2.5));
}

TEST_CASE("does a price drive requests to the cheaper device?") {
  const auto share = [](const std::string& pool) {
    const auto r = run({with("mixed_replicas", pool), with("router", "cost_aware")});
    return static_cast<double>(r.devices[0].totals.completed);
  };
  CHECK(share("h100-sxm=1@10,l40s=1@1") < 0.8 * share("h100-sxm=1@2,l40s=1@2"));
}
