// Preempted sequences whose KV goes to the host and comes back.
#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/alpha_beta.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

class Told final : public Observer {
 public:
  test::Records records;
  Tokens prefilled = 0;
  std::vector<Ps> gaps;  ///< of resumed sequences
  void on_request_done(const RequestRecord& r) override { records.on_request_done(r); }
  void on_decode_run(const DecodeRun& r) override { records.on_decode_run(r); }
  void on_mixed_step(const MixedStep& s) override {
    records.on_mixed_step(s);
    prefilled += s.prefill_tokens;
  }
  void on_resumed(RequestId, CoreId, Ps gap) override { gaps.push_back(gap); }
};

struct Outcome {
  Told told;
  SimulationResult result;
};

ReplicaConfig replica(std::int64_t blocks, std::int64_t swap_blocks, bool async = false) {
  KernelPlan plan;
  plan.async_scheduling = async;
  ReplicaConfig out;
  out.pricer = test::pricer(load_model("llama-3.1-8b"), plan);
  out.scheduler.async_scheduling = async;
  out.scheduler.max_num_batched_tokens = 2048;
  out.scheduler.max_model_len = 4000;
  out.scheduler.swap_blocks = swap_blocks;
  out.kv = {blocks + 1, 16, false};
  out.kv_links.block_bytes = 16 * 131072.0, out.kv_links.swap_bytes_per_s = 6.4e10;
  return out;
}

Outcome run(const ReplicaConfig& replica, const std::vector<Request>& requests, bool stepwise = false) {
  ClusterConfig cluster;
  cluster.replicas = {replica};
  cluster.stepwise = stepwise;
  Outcome out;
  test::ListSource source(requests);
  Observer* observers[] = {&out.told};
  out.result = simulate(cluster, source, observers);
  return out;
}

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

std::vector<Request> random_requests(Rng& rng, int count) {
  std::vector<Request> out;
  Ps now{0};
  for (int i = 0; i < count; ++i) {
    now += Ps(rng.uniform_int(0, 40) * 1'000'000'000);
    out.push_back(request(i, now, static_cast<std::int32_t>(rng.uniform_int(1, 900)),
                          static_cast<std::int32_t>(rng.uniform_int(1, 400))));
  }
  return out;
}

/// Two answers that outgrow the cache together: the second is preempted.
std::vector<Request> two() {
  return {request(0, Ps(0), 320, 200), request(1, Ps(0), 320, 200)};
}

}  // namespace

TEST_CASE("does a swapped sequence come back without its prompt being computed again?") {
  const Outcome again = run(replica(50, 0), two()), swapped = run(replica(50, 1000), two());
  REQUIRE(again.result.preemptions == 1);
  REQUIRE(swapped.result.preemptions == 1);
  CHECK(again.told.prefilled > 640 + 320);
  CHECK(swapped.told.prefilled == 640 + 1);  // both prompts, and its next token
  CHECK(swapped.result.swapped_out == swapped.result.swapped_in);
  CHECK(swapped.told.records.tokens == 400);
}

TEST_CASE("is a swapped sequence away for as long as its blocks take both ways, at least?") {
  ReplicaConfig slow = replica(50, 1000);
  slow.kv_links.swap_bytes_per_s = 1e8;
  const Outcome fast = run(replica(50, 1000), two()), out = run(slow, two());
  const AlphaBeta links;
  const double bytes = static_cast<double>(out.result.swapped_out) * 16 * 131072.0;
  const Ps one_way = to_ps(Seconds(bytes / (1e8 * links.link_efficiency)));
  REQUIRE(out.told.gaps.size() == 1);
  CHECK(out.told.gaps[0] >= one_way + one_way);
  // The step that takes its blocks waits until they have been copied, so the other one is late by that.
  CHECK(out.told.records.all[0].done - fast.told.records.all[0].done >= one_way - ps_from_ms(10));
}

TEST_CASE("is a sequence that finds no room in swap space computed again?") {
  const Outcome again = run(replica(50, 0), two()), none = run(replica(50, 3), two());
  CHECK(none.result.swapped_out == 0);
  CHECK(none.told.prefilled == again.told.prefilled);
  for (std::size_t i = 0; i < 2; ++i) CHECK(none.told.records.all[i].done == again.told.records.all[i].done);
}

TEST_CASE("is swapping equal to one step at a time, no token or block lost or doubled?") {
  std::int64_t swapped = 0, computed_again = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "swap");
    const auto requests = random_requests(rng, 80);
    ReplicaConfig config = replica(rng.uniform_int(90, 200), rng.uniform_int(0, 300), rng.uniform() < 0.6);
    constexpr const char* kSchedulers[] = {"vllm-v1", "sglang", "vllm-v0", "fastgen"};
    config.scheduler.scheduler = kSchedulers[seed % std::size(kSchedulers)];
    config.scheduler.reserve_full_isl = rng.uniform() < 0.5;
    config.scheduler.max_num_seqs = rng.uniform_int(2, 40);
    if (rng.uniform() < 0.5) config.kv_links.swap_bytes_per_s = 1e9;
    if (seed % 5 == 0) config.engine_cores = 2;
    if (seed % 3 == 0) config.kv.groups = {{{}, false, 1, 16}, {300, false, 1, 16}};
    if (seed % 3 == 0) config.kv.blocks *= 2;
    INFO("seed " << seed);
    const Outcome fast = run(config, requests), slow = run(config, requests, true);
    Tokens asked = 0;
    REQUIRE(fast.told.records.all.size() == 80);
    for (std::size_t i = 0; i < 80; ++i) {
      const RequestRecord &a = fast.told.records.all[i], &b = slow.told.records.all[i];
      REQUIRE(a.failure == nullptr);
      asked += a.output_tokens;
      REQUIRE(a.id == b.id);
      REQUIRE(a.first_token == b.first_token);
      REQUIRE(a.done == b.done);
    }
    REQUIRE(fast.told.records.tokens == asked);
    REQUIRE(fast.result.swapped_out == slow.result.swapped_out);
    REQUIRE(fast.result.swapped_out == fast.result.swapped_in);  // no prefix is shared here
    swapped += fast.result.swapped_out;
    computed_again += fast.result.preemptions > 0 && fast.result.swapped_out == 0;
  }
  CHECK(swapped > 1000);
  CHECK(computed_again > 0);
}
