// The live engine's loop against the simulator's: the same decisions when steps take as long.
#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "support/token_content.hpp"
#include "toy.hpp"

using namespace orrery;
using namespace orrery::test;

namespace {

std::vector<Request> random_requests(Rng& rng, int n) {
  std::vector<Request> out;
  double t = 0;
  for (int i = 0; i < n; ++i) {
    if (rng.uniform() < 0.8) t += rng.exponential(0.02);
    Request r = request(i, 1000 * t, static_cast<std::int32_t>(rng.uniform_int(1, 600)),
                        static_cast<std::int32_t>(rng.uniform_int(1, 80)));
    if (rng.uniform() < 0.5) r.prefix = random_prefix(rng, i, r.prompt_tokens, 64);
    out.push_back(std::move(r));
  }
  return out;
}

void require_equal(const std::vector<RequestRecord>& a, const std::vector<RequestRecord>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].id == b[i].id);
    CHECK(a[i].queued == b[i].queued);
    CHECK(a[i].scheduled == b[i].scheduled);
    CHECK(a[i].first_token == b[i].first_token);
    CHECK(a[i].done == b[i].done);
    CHECK(a[i].cached_tokens == b[i].cached_tokens);
    CHECK(a[i].preemptions == b[i].preemptions);
  }
}

}  // namespace

TEST_CASE("does the live engine decide as the simulator when steps take as long as they are priced?") {
  const auto seed = GENERATE(1, 2, 3, 4, 5, 6);
  Rng rng(static_cast<std::uint64_t>(seed), "live");
  const auto requests = random_requests(rng, 60);
  ReplicaConfig replica;
  replica.pricer = pricer(load_model("llama-3.1-8b"), KernelPlan{});
  replica.scheduler.max_num_seqs = 16, replica.scheduler.max_num_batched_tokens = 512;
  replica.scheduler.async_scheduling = seed % 2 == 0;
  replica.kv.blocks = seed < 4 ? 220 : 2000;  // the small ones preempt

  Records simulated, live;
  Observer* observers[] = {&simulated};
  ListSource source(requests);
  ClusterConfig cluster;
  cluster.replicas = {replica};
  const SimulationResult expected = simulate(cluster, source, observers);

  StepClock clock;
  std::vector<PrefillChunk> chunks;
  TimedRunner runner(nullptr, clock, [&](const BatchPlan& plan) {
    if (plan.chunks.empty()) return replica.pricer->decode(plan.decode).first;
    chunks.clear();
    for (const auto& c : plan.chunks) chunks.push_back(c.tokens);
    return replica.pricer->mixed(plan.decode, chunks);
  });
  Observer* live_observers[] = {&live};
  ListSource again(requests);
  const SimulationResult got = live::Server(replica, {}, runner, clock, live_observers).run(again);

  require_equal(live.all, simulated.all);
  CHECK(live.steps == simulated.steps);
  CHECK(live.tokens == simulated.tokens);
  CHECK(got.end == expected.end);
  CHECK(got.steps == expected.steps);
  CHECK(got.busy == expected.busy);
  CHECK(got.preemptions == expected.preemptions);
  CHECK(got.prefix_hit_tokens == expected.prefix_hit_tokens);
  CHECK(got.peak_running == expected.peak_running);
  if (seed == 1) CHECK(got.preemptions > 0);
}
