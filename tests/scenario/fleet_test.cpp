// What users say of replicas that come and go, and what they read.
#include "scenario/fleet.hpp"

#include <catch2/catch.hpp>

#include "report/invariants.hpp"
#include "scenario/meshes.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"

using namespace orrery;

namespace {

Scenario scenario(Assignments more, int replicas = 2) {
  Assignments values{{"model", "llama-3.1-8b", "", "", 0},
                     {"gpu", "h100-sxm", "", "", 0},
                     {"replicas", std::to_string(replicas), "", "", 0}};
  values.insert(values.end(), more.begin(), more.end());
  Scenario s = resolve(values);
  s.workload.random_input_len = 500, s.workload.random_output_len = 200;
  s.workload.num_prompts = 200, s.workload.request_rate = 10;
  return s;
}

Assignment set(const char* name, const char* value) {
  return {name, value, "", "", 0};
}

}  // namespace

TEST_CASE("are failures read as they are written, and refused in one sentence?") {
  const auto outages = parse_outages("replica=1@60s+30s,gpu=3@1m40s+5s");
  REQUIRE(outages.size() == 2);
  CHECK(outages[1].what == "gpu");
  CHECK(outages[1].index == 3);
  CHECK(outages[1].start_s == 100);
  CHECK(outages[1].repair_s == 5);
  CHECK_THROWS_WITH(parse_outages("host=1@60s+30s"), Catch::Contains("'host' does not fail"));
  CHECK_THROWS_WITH(parse_outages("replica=1@60s"), Catch::Contains("expected replica=1@60s+30s"));
  CHECK_THROWS_AS(resolve(Assignments{set("failures", "replica")}), ConfigError);
  CHECK_THROWS_WITH(deploy(scenario({set("failures", "node=1@1s+1s")})),
                    Catch::Contains("no replica lies on node 1"));
  CHECK_THROWS_WITH(run_scenario(scenario({set("failures", "replica=2@1s+1s")})),
                    Catch::Contains("a failure names replica 2"));
}

TEST_CASE("does a GPU take its replica with it, and a node all that lie there?") {
  Scenario s = scenario({set("failures", "gpu=5@1s+1s,node=0@2s+1s"), set("tensor_parallel_size", "2")}, 5);
  const Deployment d = deploy(s);
  std::vector<int> hit;
  for (const Outage& o : d.cluster.fleet->outages) hit.push_back(o.replica);
  CHECK(hit == std::vector<int>{2, 0, 1, 2, 3});  // four replicas of two GPUs in a server of eight
}

TEST_CASE("is every token delivered once across failures, and are they in the summary?") {
  Scenario s = scenario({set("failures", "replica=0@3s+2s,replica=1@7s+1s"), set("instance_boot", "1s"),
                         set("image_pull", "0s"), set("graph_capture", "1s")});
  Invariants invariants;
  RunOptions options;
  options.observers = {&invariants};
  const RunResult r = run_scenario(s, options);
  CHECK(r.summary.completed == 200);
  CHECK(invariants.tokens_delivered() == 200 * 200);
  CHECK(r.fleet->failures == 2);
  CHECK(r.fleet->starts == 2);
  CHECK(r.fleet->retries > 10);
  CHECK(r.fleet->tokens_discarded == 0);
  CHECK(r.fleet->up_s + r.fleet->starting_s + r.fleet->down_s == Approx(2 * r.summary.simulated_s));
  CHECK(r.fleet->down_s == Approx(3));
  s.fleet.retry = "restart";
  Invariants again;
  options.observers = {&again};
  const RunResult restarted = run_scenario(s, options);
  CHECK(again.tokens_delivered() == 200 * 200 + restarted.fleet->tokens_discarded);
  CHECK(restarted.summary[Metric::ttft].at(99) > r.summary[Metric::ttft].at(99));
}

TEST_CASE("is an autoscaled cluster paid for what was there?") {
  Scenario s = scenario({set("autoscale", "min=1,max=4,signal=rps,target=5,interval=1s,cooldown=5s"),
                         set("instance_boot", "2s"), set("image_pull", "0s"), set("graph_capture", "0s")},
                        1);
  s.gpu_hour_usd = 3.6;
  const RunResult r = run_scenario(s);
  CHECK(r.summary.completed == 200);
  CHECK(r.fleet->most_up >= 2);
  const double usd = 3.6 / 3600 * r.fleet->billed_s();
  CHECK(r.summary.usd_per_million_output_tokens.value() == Approx(usd / (200 * 200) * 1e6));
  CHECK(r.fleet->billed_s() < 4 * r.summary.simulated_s);
  CHECK_THROWS_AS(parse_autoscale("max=4,target=1,signal=cpu"), ConfigError);
  CHECK_THROWS_AS(parse_autoscale("min=4,max=2,target=1"), ConfigError);
  CHECK_THROWS_AS(parse_autoscale("max=2"), ConfigError);
}

TEST_CASE("are meshes read as splits in order of time?") {
  const auto meshes = parse_meshes("tp4pp2x3@60s,tp2@2m");
  CHECK(meshes[0].mesh == Mesh{3, 2, 4});
  CHECK(meshes[1].mesh == Mesh{1, 1, 2});
  CHECK(meshes[1].notice_s == 120);
  CHECK_THROWS_AS(parse_meshes("pp2@1s"), ConfigError);
  CHECK_THROWS_AS(parse_meshes("tp2@2m,tp4@1m"), ConfigError);
}
