#include "scenario/plan.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {
namespace {

/// Llama-3.1-8B on H100s: prompts of 1000 tokens, answers of 200.
PlanQuestion question(const std::string& slo = "ttft<=500ms@p99,tpot<=30ms@p99") {
  PlanQuestion q;
  const auto set = [&](const char* name, const std::string& value) {
    q.base.push_back({name, value, "test", "", 0});
  };
  set("model", "llama-3.1-8b");
  set("random_input_len", "1000");
  set("random_output_len", "200");
  set("slo", slo);
  q.axes = {{"gpu", {"h100-sxm"}}, {"tensor_parallel_size", {"1", "2"}}};
  return q;
}

/// Whether `units` of a plan serve `rate`, by a run of its own.
bool serves(const Plan& plan, double rate) {
  Scenario s = plan.candidate.scenario;
  s.workload.request_rate = rate;
  s.workload.num_prompts = 4000;
  const Summary summary = run_scenario(s).summary;
  return summary.slo_met() && !summary.stability.unstable;
}

}  // namespace

TEST_CASE("is the rate of a plan the highest that keeps the promises?") {
  PlanQuestion q = question();
  q.disaggregated = GENERATE(false, true);
  const PlanAnswer answer = make_plan(q);
  REQUIRE(answer.infeasible.empty());
  for (const Plan& plan : answer.plans) {
    if (plan.unit_rps == 0) continue;
    INFO(describe(plan.candidate) << ", " << plan.unit_rps << " req/s");
    CHECK(serves(plan, 0.9 * plan.unit_rps));
    CHECK_FALSE(serves(plan, 1.15 * plan.unit_rps));
  }
}

TEST_CASE("are the plans in order of cost, and the same from several threads?") {
  PlanQuestion q = question();
  q.axes[0].values = {"h100-sxm", "a100-sxm-80g"};
  q.target_rps = 60;
  q.usd_per_gpu_hour = {{"h100-sxm", 3.0}, {"a100-sxm-80g", 1.0}};
  const PlanAnswer one = make_plan(q);
  q.threads = 3;
  const PlanAnswer three = make_plan(q);
  CHECK(to_json(one) == to_json(three));
  REQUIRE(one.plans.size() > 2);
  double last = 0;
  for (const Plan& plan : one.plans) {
    if (!plan.meets) continue;
    CHECK(*plan.usd_per_hour >= last);
    last = *plan.usd_per_hour;
    CHECK(plan.unit_rps * plan.units >= 0.97 * q.target_rps);
  }
}

TEST_CASE("does a plan leave out what does not fit, and say what it takes?") {
  PlanQuestion q = question();
  q.base[0].value = "llama-3.1-70b";
  q.disaggregated = false;
  q.axes[1].values = {"1", "4"};
  const PlanAnswer answer = make_plan(q);
  REQUIRE(answer.refused.size() == 1);
  CHECK_THAT(answer.refused[0].estimate.refused, Catch::Contains("does not fit"));
  REQUIRE(answer.plans.size() == 1);
  CHECK(answer.plans[0].candidate.all_gpus() == 4);

  q.target_rps = 1000, q.max_gpus = 8;
  const PlanAnswer crowded = make_plan(q);
  CHECK_THAT(crowded.infeasible, Catch::Contains("8 GPUs do not carry 1000 req/s"));
  // Nobody is served whose request no replica takes.
  q = question();
  q.base.push_back({"max_model_len", "1100", "test", "", 0});
  q.base.push_back({"random_input_len", "1090", "test", "", 0});
  q.base.push_back({"random_range_ratio", "0.5", "test", "", 0});
  q.base.push_back({"random_range_meaning", "around", "test", "", 0});
  q.disaggregated = false;
  CHECK_THAT(make_plan(q).infeasible, Catch::Contains("requests fail"));
  const PlanAnswer hasty = make_plan(question("ttft<=1ms@p99"));
  CHECK_THAT(hasty.infeasible, Catch::Contains("TTFT of a lone request is over the limit: the best is"));
}

TEST_CASE("may each phase have its own device and split?") {
  PlanQuestion q = question();
  q.axes[0].values = {"h100-sxm", "a100-sxm-80g"};
  std::vector<Plan> plans;
  for (PlanCandidate& c : plan_candidates(q)) {
    plans.emplace_back();
    plans.back().candidate = std::move(c);
    plans.back().estimate = estimate(plans.back().candidate.scenario, {1000, 200, false});
  }
  REQUIRE(plans.size() == 4);
  const auto pools = plan_pools(q, plans[1], plans[2]);  // h100 tp2, a100 tp1
  REQUIRE(pools);
  const PlanCandidate& c = pools->candidate;
  CHECK(c.gpus.at("h100-sxm") == 2 * c.prefill);
  CHECK(c.gpus.at("a100-sxm-80g") == c.decode);
  // No other numbers of replicas up to four waste less, by the estimates.
  const double best = pools->estimate.rate / c.all_gpus();
  for (int p = 1; p <= 4; ++p) {
    for (int d = 1; d <= 4; ++d) {
      const double rate = std::min(p * plans[1].estimate.prefill_rate, d * plans[2].estimate.decode_rate);
      CHECK(rate / (2 * p + d) <= best * (1 + 1e-9));
    }
  }
  q.max_gpus = 2;
  CHECK_FALSE(plan_pools(q, plans[1], plans[2]));
}

TEST_CASE("is an empty search, or one without a promise, one sentence?") {
  PlanQuestion q = question();
  q.axes[1].values = {"8"};
  q.max_gpus = 4;
  CHECK_THROWS_WITH(make_plan(q), Catch::Contains("no configuration takes 4 GPUs or fewer"));
  q = question();
  q.axes.push_back({"max_num_seqs", {}});
  CHECK_THROWS_WITH(make_plan(q), Catch::Contains("--max-num-seqs has no value"));
  q = question();
  q.base.pop_back();
  CHECK_THROWS_WITH(make_plan(q), Catch::Contains("a plan needs promises to keep"));
}

}  // namespace orrery
