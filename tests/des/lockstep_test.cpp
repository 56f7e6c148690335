// Data-parallel ranks that share experts: every step is made by all of them and lasts as long as the slowest.
#include <algorithm>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

constexpr int kRanks = 4;

KernelPlan plan_with_graphs() {
  KernelPlan plan;
  plan.graph_sizes = vllm_graph_sizes(128);
  plan.async_scheduling = false;
  plan.eager_launch_per_layer = Seconds(20e-6);
  return plan;
}

ReplicaConfig ranks(const ModelSpec& model, int cores, Shard shard = {}) {
  ReplicaConfig replica;
  replica.scheduler.async_scheduling = false;
  replica.scheduler.max_num_batched_tokens = 4096;
  replica.kv = {5000, 16, false};
  replica.pricer = test::pricer(model, plan_with_graphs(), shard);
  replica.engine_cores = cores;
  return replica;
}

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

/// Where requests went, and the steps of each rank.
class Steps final : public Observer {
 public:
  struct Step {
    Ps start, end;
    bool prompt;
  };
  std::map<std::int32_t, std::vector<Step>> by_core;
  std::vector<std::int32_t> cores;
  std::vector<RequestRecord> records;

  void on_arrival(const Request&, CoreId where) override { cores.push_back(where.core); }
  void on_decode_run(const DecodeRun& run) override {
    Ps start = run.start;
    for (std::int64_t j = 0; j < run.steps; ++j) {
      const Ps end = start + run.first + run.slope * j;
      by_core[run.where.core].push_back({start, end, false});
      start = end;
    }
  }
  void on_mixed_step(const MixedStep& step) override {
    by_core[step.where.core].push_back({step.start, step.start + step.duration, true});
  }
  void on_request_done(const RequestRecord& r) override { records.push_back(r); }
};

Steps run(const ReplicaConfig& replica, const std::vector<Request>& requests) {
  ClusterConfig cluster;
  cluster.replicas = {replica};
  test::ListSource source(requests);
  Steps steps;
  Observer* observers[] = {&steps};
  simulate(cluster, source, observers);
  std::sort(steps.records.begin(), steps.records.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return steps;
}

Shard expert_ranks() {
  Shard shard;
  shard.dp = shard.ep = kRanks;
  return shard;
}

}  // namespace

TEST_CASE("does a lone request among ranks without experts take what it takes alone?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  const auto requests = std::vector{request(0, Ps(0), 500, 80)};
  const Steps alone = run(ranks(model, 1), requests), among = run(ranks(model, kRanks), requests);
  CHECK(among.records[0].first_token == alone.records[0].first_token);
  CHECK(among.records[0].done == alone.records[0].done);
}

TEST_CASE("do requests that arrive together go to a rank each, as vLLM's balancer sends them?") {
  std::vector<Request> requests;
  for (int i = 0; i < kRanks; ++i) requests.push_back(request(i, Ps(0), 100, 20));
  const Steps steps = run(ranks(load_model("qwen3-30b-a3b"), kRanks, expert_ranks()), requests);
  CHECK(std::set(steps.cores.begin(), steps.cores.end()).size() == kRanks);
}

TEST_CASE("do all ranks begin and end their steps together, a long prompt holding up the others?") {
  std::vector<Request> requests;
  for (int i = 0; i < kRanks; ++i) requests.push_back(request(i, Ps(0), 64 + 10 * i, 300));
  requests.push_back(request(kRanks, ps_from_ms(900), 4000, 5));
  const Steps steps = run(ranks(load_model("qwen3-30b-a3b"), kRanks, expert_ranks()), requests);
  REQUIRE(steps.by_core.size() == kRanks);
  std::map<Ps, Ps> end_of;  // by start, whichever rank
  for (const auto& [core, all] : steps.by_core) {
    for (const auto& step : all) {
      const auto known = end_of.emplace(step.start, step.end);
      REQUIRE(known.first->second == step.end);
    }
  }
  Ps end(-1);
  for (const auto& [start, until] : end_of) {  // and never overlap
    REQUIRE(start >= end);
    end = until;
  }
  // The prompt of 4000 tokens is one step; ranks that only decode have a step of the same length then.
  Ps longest_decode(0), longest_prompt(0);
  for (const auto& [core, all] : steps.by_core) {
    for (const auto& step : all) {
      auto& longest = step.prompt ? longest_prompt : longest_decode;
      longest = std::max(longest, step.end - step.start);
    }
  }
  CHECK(longest_decode == longest_prompt);
}

TEST_CASE("is every token delivered once when ranks step together?") {
  std::vector<Request> requests;
  std::int64_t outputs = 0;
  for (int i = 0; i < 60; ++i) {
    requests.push_back(request(i, ps_from_ms(7 * i), 50 + 37 * (i % 11), 1 + 13 * (i % 17)));
    outputs += requests.back().output_tokens;
  }
  ClusterConfig cluster;
  cluster.replicas = {ranks(load_model("qwen3-30b-a3b"), kRanks, expert_ranks())};
  test::ListSource source(requests);
  test::Records records;
  Observer* observers[] = {&records};
  const SimulationResult result = simulate(cluster, source, observers);
  CHECK(result.completed == 60);
  CHECK(records.tokens == outputs);
}
