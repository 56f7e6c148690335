// Skip-join multi-level feedback queues and the engine that stops requests between iterations for them (Wu et
// al., Fast Distributed Inference Serving for Large Language Models, 2023).
#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "serving/kv_cache.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

constexpr double kForEver = 1e12;

ReplicaConfig replica(const std::string& scheduler, const std::string& policy, std::int64_t max_num_seqs,
                      std::int64_t blocks = 100000) {
  ReplicaConfig out;
  out.pricer = test::pricer(load_model("llama-3.1-8b"), {});
  out.scheduler.scheduler = scheduler;
  out.scheduler.queue.policy = policy;
  out.scheduler.async_scheduling = false;
  out.scheduler.max_num_seqs = max_num_seqs;
  out.scheduler.max_num_batched_tokens = 4096;
  out.scheduler.max_model_len = 4096;
  out.kv = {blocks + 1, 16, false};
  out.kv_links.block_bytes = 16 * 131072.0, out.kv_links.swap_bytes_per_s = 6.4e10;
  DecodeSet set;
  set.seqs = max_num_seqs, set.context = 512 * max_num_seqs;
  out.scheduler.queue.mlfq_iteration_s = to_seconds(out.pricer->decode(set).first).value;
  const PrefillChunk chunk{1024, 0};
  out.scheduler.queue.mlfq_prompt_token_s = to_seconds(out.pricer->mixed({}, {&chunk, 1})).value / 1024;
  return out;
}

struct Outcome {
  test::Records records;
  SimulationResult result;
  double mean_s() const {
    double sum = 0;
    for (const auto& r : records.all) sum += to_seconds(r.done - r.arrival).value;
    return sum / static_cast<double>(records.all.size());
  }
  const RequestRecord& of(RequestId id) const {
    for (const auto& r : records.all) {
      if (r.id == id) return r;
    }
    FAIL("no record of request " << id);
    return records.all.front();
  }
};

Outcome run(const ReplicaConfig& replica, const std::vector<Request>& requests, bool stepwise = false) {
  ClusterConfig cluster;
  cluster.replicas = {replica};
  cluster.stepwise = stepwise;
  Outcome out;
  test::ListSource source(requests);
  Observer* observers[] = {&out.records};
  out.result = simulate(cluster, source, observers);
  return out;
}

Request request(RequestId id, double seconds, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = to_ps(Seconds(seconds)), r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

/// Answers whose lengths have a heavy tail (Pareto, exponent 1.1).
std::vector<Request> heavy_tail(std::uint64_t seed, int count, double rate) {
  Rng rng(seed, "heavy tail");
  std::vector<Request> out;
  double t = 0;
  for (int i = 0; i < count; ++i) {
    t += rng.exponential(1 / rate);
    const double length = 10 * std::pow(1 - rng.uniform(), -1 / 1.1);
    out.push_back(request(i, t, static_cast<std::int32_t>(rng.uniform_int(10, 400)),
                          static_cast<std::int32_t>(std::min(length, 3000.0))));
  }
  return out;
}

Sequence sequence(RequestId id, std::int32_t prompt) {
  Sequence seq;
  seq.request = request(id, static_cast<double>(id), prompt, 100);
  seq.state = Sequence::State::waiting;
  return seq;
}

}  // namespace

TEST_CASE("does a long prompt join further down than a short one that came later?") {
  QueueParams params;
  params.policy = "mlfq";
  params.mlfq_quantum_s = 0.02, params.mlfq_prompt_token_s = 1e-4;
  const KvCache cache({100, 16, false});
  const auto queues = make_queue_policy(params, cache);
  const Sequence early_long = sequence(0, 2000), late_short = sequence(1, 100), later_short = sequence(2, 50);
  CHECK(queues->before(late_short, early_long));   // 0.2 s fit the fifth queue's 0.32 s, 0.01 s the first's
  CHECK(queues->before(late_short, later_short));  // one queue: who came first
}

TEST_CASE("are queues whose quanta never end first come, first served, to the bit?") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto requests = heavy_tail(seed, 150, 20);
    ReplicaConfig feedback = replica("fastserve", "mlfq", 8);
    feedback.scheduler.queue.mlfq_quantum_s = kForEver;
    const Outcome a = run(feedback, requests), b = run(replica("vllm-v1", "fcfs", 8), requests);
    REQUIRE(a.records.all.size() == b.records.all.size());
    CHECK(a.result.preemptions == 0);
    for (std::size_t i = 0; i < a.records.all.size(); ++i) {
      CHECK(a.records.all[i].id == b.records.all[i].id);
      CHECK(a.records.all[i].scheduled == b.records.all[i].scheduled);
      CHECK(a.records.all[i].first_token == b.records.all[i].first_token);
      CHECK(a.records.all[i].done == b.records.all[i].done);
    }
  }
}

TEST_CASE("is the mean time of heavy-tailed requests shorter than first come, first served?") {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const auto requests = heavy_tail(seed, 400, 12);
    const Outcome feedback = run(replica("fastserve", "mlfq", 4), requests);
    const Outcome first_come = run(replica("vllm-v1", "fcfs", 4), requests);
    INFO("seed " << seed);
    CHECK(feedback.mean_s() < first_come.mean_s());
    CHECK(feedback.result.preemptions > 0);
  }
}

TEST_CASE("does a request that has waited for too long go first?") {
  // One long answer, and enough short ones to keep it waiting.
  std::vector<Request> requests{request(0, 0, 100, 600)};
  for (int i = 1; i < 600; ++i) requests.push_back(request(i, 0.02 * i, 100, 8));
  ReplicaConfig starving = replica("fastserve", "mlfq", 1), guarded = starving;
  guarded.scheduler.queue.mlfq_starvation_s = 0.5;
  CHECK(run(guarded, requests).of(0).done < run(starving, requests).of(0).done);
}

TEST_CASE("are feedback queues equal to one step at a time, with no token lost or made twice?") {
  std::int64_t swapped = 0, preemptions = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "feedback");
    auto requests = heavy_tail(seed, 100, rng.uniform(5, 40));
    for (Request& r : requests) r.output_tokens = std::min(r.output_tokens, 1000);
    ReplicaConfig config = replica("fastserve", "mlfq", rng.uniform_int(1, 20), rng.uniform_int(100, 400));
    config.scheduler.async_scheduling = rng.uniform() < 0.5;
    config.scheduler.swap_blocks = rng.uniform() < 0.7 ? rng.uniform_int(0, 600) : 0;
    config.scheduler.queue.mlfq_starvation_s = rng.uniform() < 0.5 ? 0.4 : 0;
    config.scheduler.reserve_full_isl = rng.uniform() < 0.5;
    INFO("seed " << seed);
    const Outcome fast = run(config, requests), slow = run(config, requests, true);
    REQUIRE(fast.records.all.size() == 100);
    Tokens asked = 0;
    for (std::size_t i = 0; i < 100; ++i) {
      const RequestRecord &a = fast.records.all[i], &b = slow.records.all[i];
      REQUIRE(a.failure == nullptr);
      asked += a.output_tokens;
      REQUIRE(a.id == b.id);
      REQUIRE(a.first_token == b.first_token);
      REQUIRE(a.done == b.done);
    }
    REQUIRE(fast.records.tokens == asked);
    REQUIRE(fast.result.swapped_out == slow.result.swapped_out);
    swapped += fast.result.swapped_out;
    preemptions += fast.result.preemptions;
  }
  CHECK(preemptions > 500);
  CHECK(swapped > 1000);
}
