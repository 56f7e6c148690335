// Speculation in time: what steps bring, what they cost, and that the fast path is not an approximation.
#include <algorithm>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

Decoder chain(int gamma, std::vector<double> acceptance, bool sampled = false,
              DraftMethod method = DraftMethod::ngram) {
  DecoderParams p;
  p.method = method;
  p.num_speculative_tokens = gamma;
  p.acceptance = std::move(acceptance);
  p.sampled = sampled;
  return Decoder(p);
}

/// An engine of one GPU with simple kernels.
ReplicaConfig replica(const Decoder& decoder, bool async, std::int64_t blocks = 8000,
                      const std::string& model = "llama-3.1-8b") {
  KernelPlan plan;
  plan.async_scheduling = async;
  plan.graph_sizes = vllm_graph_sizes(512);
  plan.host_per_step = Seconds(2e-3);
  Drafting drafting;
  drafting.queries = decoder.queries();
  drafting.pace_steps = decoder.pace().steps;
  ReplicaConfig r;
  r.pricer = std::make_shared<StepPricer>(load_model(model), Shard{}, DeviceProfile{}, Topology{}, plan,
                                          std::make_shared<test::PlainCost>(), drafting);
  r.scheduler.async_scheduling = async;
  r.scheduler.max_num_batched_tokens = 2048;
  r.scheduler.max_num_seqs = 128;
  r.scheduler.decoder = decoder;
  r.kv = {blocks, 16, false};
  return r;
}

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

std::vector<Request> random_requests(std::uint64_t seed, int n, double mean_gap_ms) {
  Rng rng(seed, "requests");
  std::vector<Request> out;
  Ps at{0};
  for (int i = 0; i < n; ++i) {
    at += ps_from_ms(rng.exponential(mean_gap_ms));
    out.push_back(request(i, at, static_cast<std::int32_t>(rng.uniform_int(1, 1500)),
                          static_cast<std::int32_t>(rng.uniform_int(1, 300))));
  }
  return out;
}

struct Outcome {
  SimulationResult result;
  std::vector<RequestRecord> records;
  std::int64_t tokens = 0, steps = 0;
};

Outcome run(const ReplicaConfig& config, const std::vector<Request>& requests, bool stepwise) {
  ClusterConfig cluster;
  cluster.replicas = {config};
  cluster.stepwise = stepwise;
  test::ListSource source(requests);
  test::Records records;
  Observer* observers[] = {&records};
  Outcome out;
  out.result = simulate(cluster, source, observers);
  std::sort(records.all.begin(), records.all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  out.records = std::move(records.all);
  out.tokens = records.tokens, out.steps = records.steps;
  std::int64_t asked = 0;
  for (const auto& r : out.records) asked += r.failure ? 0 : r.output_tokens;
  REQUIRE(out.tokens == asked);
  return out;
}

}  // namespace

TEST_CASE("does speculation of no tokens leave every record as plain decoding makes it?") {
  const auto requests = random_requests(1, 150, 20);
  for (const bool async : {false, true}) {
    const auto plain = run(replica(Decoder(), async), requests, false);
    const auto none = run(replica(chain(0, {}), async), requests, false);
    REQUIRE(plain.records.size() == none.records.size());
    for (std::size_t i = 0; i < plain.records.size(); ++i) {
      REQUIRE(plain.records[i].first_token == none.records[i].first_token);
      REQUIRE(plain.records[i].done == none.records[i].done);
    }
    CHECK(plain.result.steps == none.result.steps);
  }
}

TEST_CASE("does a run of verifying steps give the records of its steps one by one, to the picosecond?") {
  const bool async = GENERATE(false, true);
  const bool scarce = GENERATE(false, true);  // with preemptions
  for (const auto& decoder :
       {chain(5, {0.8}), chain(3, {0.9, 0.6, 0.2}), chain(1, {0.03}), chain(4, {1.0})}) {
    const auto config = replica(decoder, async, scarce ? 700 : 8000);
    const auto requests = random_requests(scarce ? 3 : 2, 200, 10);
    const auto fast = run(config, requests, false), slow = run(config, requests, true);
    REQUIRE(fast.records.size() == slow.records.size());
    for (std::size_t i = 0; i < fast.records.size(); ++i) {
      REQUIRE(fast.records[i].first_token == slow.records[i].first_token);
      REQUIRE(fast.records[i].done == slow.records[i].done);
      REQUIRE(fast.records[i].preemptions == slow.records[i].preemptions);
    }
    CHECK(fast.result.steps == slow.result.steps);
    CHECK(fast.tokens == slow.tokens);
    CHECK(fast.result.events < slow.result.events);
    if (scarce) CHECK(fast.result.preemptions > 0);
  }
}

// Gemma-2's layers alternate between all keys and the last 4096; chunks are added to what the cache keeps.
TEST_CASE(
    "does a step that passes a window's edge keep runs equal to their steps, and every block accounted "
    "for?") {
  const bool sampled = GENERATE(false, true);
  for (const auto& decoder : {chain(5, {0.8}, sampled), chain(4, {1.0}, sampled), chain(2, {0.3}, sampled)}) {
    for (const std::int64_t blocks : {1300, 9000}) {
      auto config = replica(decoder, blocks == 9000, blocks, "gemma-2-9b");
      config.kv.groups = {{{}, false, 1, 16}, {4096, false, 1, 16}, {{256, true}, false, 1, 16}};
      config.kv.enable_prefix_caching = blocks == 9000;
      Rng rng(static_cast<std::uint64_t>(blocks), "long requests");
      std::vector<Request> requests;
      for (int i = 0; i < 40; ++i) {
        requests.push_back(request(i, ps_from_ms(i * 15.0),
                                   static_cast<std::int32_t>(rng.uniform_int(3000, 4200)),
                                   static_cast<std::int32_t>(rng.uniform_int(1, 400))));
      }
      const auto fast = run(config, requests, false), slow = run(config, requests, true);
      REQUIRE(fast.result.completed == 40);
      REQUIRE(fast.result.steps == slow.result.steps);
      REQUIRE(fast.result.preemptions == slow.result.preemptions);
      for (std::size_t i = 0; i < fast.records.size(); ++i)
        REQUIRE(fast.records[i].done == slow.records[i].done);
    }
  }
}

TEST_CASE("is the mean of tokens a step within 1% of tau, by pace and by draw?") {
  for (const bool sampled : {false, true}) {
    for (const double alpha : {0.1, 0.5, 0.8, 0.95}) {
      const auto decoder = chain(5, {alpha}, sampled);
      // One token comes with the prompt; the cut of the last step is one part in thousands.
      const auto out = run(replica(decoder, true), {request(0, Ps(0), 10, 20001)}, false);
      const double mean = 20000.0 / static_cast<double>(out.steps - 1);
      CHECK(mean == Approx(decoder.tokens_per_step()).epsilon(0.01));
      CHECK(out.tokens == 20001);
    }
  }
}

TEST_CASE("do drawn tokens depend on the request and not on who else is served?") {
  const auto decoder = chain(4, {0.7}, true);
  auto requests = random_requests(5, 40, 30);
  const auto all = run(replica(decoder, false), requests, false);
  const auto again = run(replica(decoder, false), requests, true);
  for (std::size_t i = 0; i < all.records.size(); ++i) REQUIRE(all.records[i].done == again.records[i].done);
  // Scarce blocks: preempted sequences go on as they were, and every block comes back.
  const auto scarce = run(replica(decoder, true, 300), random_requests(6, 100, 5), false);
  CHECK(scarce.result.preemptions > 0);
  CHECK(scarce.result.completed + scarce.result.failed == 100);
}

TEST_CASE("does one request's time between tokens fall by tau over the price of verifying?") {
  const auto plain = run(replica(Decoder(), false), {request(0, Ps(0), 100, 2001)}, false);
  const auto decoder = chain(5, {0.8});
  const auto fast = run(replica(decoder, false), {request(0, Ps(0), 100, 2001)}, false);
  const auto tpot = [](const Outcome& o) {
    return to_ms(o.records[0].done - o.records[0].first_token) / 2000;
  };
  DecodeSet set;
  set.seqs = 1, set.context = 1100;
  const auto config = replica(decoder, false), bare = replica(Decoder(), false);
  const double verify = to_ms(config.pricer->decode(set).first) / to_ms(bare.pricer->decode(set).first);
  CHECK(tpot(plain) / tpot(fast) == Approx(decoder.tokens_per_step() / verify).epsilon(0.01));
}

TEST_CASE("are KV blocks held for the tokens that drafts may write, and refused when there are none?") {
  // 20 tokens of prompt, 12 of output, blocks of 16: 31 stored at most without drafts, two blocks.
  const auto plain = run(replica(Decoder(), false, 3), {request(0, Ps(0), 20, 12)}, false);
  CHECK(plain.result.completed == 1);
  const auto drafted = run(replica(chain(5, {0.8}), false, 3), {request(0, Ps(0), 20, 12)}, false);
  CHECK(drafted.result.failed == 1);
  CHECK(run(replica(chain(5, {0.8}), false, 4), {request(0, Ps(0), 20, 12)}, false).result.completed == 1);
}
