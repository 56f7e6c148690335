// When things happen: boundaries, asynchronous planning, front end, closed loops. Step times are read from
// the pricer, so that every expected time is a sum written out here.
#include <algorithm>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

struct Rig {
  std::shared_ptr<StepPricer> price;
  ReplicaConfig replica;
  explicit Rig(bool async) {
    KernelPlan plan;
    plan.async_scheduling = async;
    price = test::pricer(load_model("llama-3.1-8b"), plan);
    replica.scheduler.async_scheduling = async;
    replica.scheduler.max_num_batched_tokens = 2048;
    replica.kv = {5000, 16, false};
    replica.pricer = price;
  }
  Ps prefill(Tokens tokens, DecodeSet set = {}) {
    const PrefillChunk chunk{tokens, 0};
    return price->mixed(set, {&chunk, 1});
  }
  Ps decode(std::int64_t seqs, Tokens context) {
    DecodeSet set;
    set.seqs = seqs, set.context = context;
    return price->decode(set).first;
  }
  std::vector<RequestRecord> run(const std::vector<Request>& requests) {
    ClusterConfig cluster;
    cluster.replicas = {replica};
    test::ListSource source(requests);
    test::Records records;
    Observer* observers[] = {&records};
    simulate(cluster, source, observers);
    std::sort(records.all.begin(), records.all.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
    return records.all;
  }
};

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

DecodeSet decode_set(std::int64_t seqs, Tokens context) {
  DecodeSet set;
  set.seqs = seqs, set.context = context;
  return set;
}

}  // namespace

TEST_CASE("is a lone request's time its prefill and one decode step per further token?") {
  for (bool async : {false, true}) {
    Rig rig(async);
    rig.replica.front_end = {ps_from_ms(3), Ps(1000), ps_from_ms(2)};
    const auto r = rig.run({request(0, ps_from_ms(10), 100, 4)});
    const Ps in = ps_from_ms(10) + ps_from_ms(3) + Ps(100 * 1000);
    CHECK(r[0].queued == in);
    CHECK(r[0].scheduled == in);
    CHECK(r[0].first_token == in + rig.prefill(100) + ps_from_ms(2));
    CHECK(r[0].done == r[0].first_token + rig.decode(1, 101) + rig.decode(1, 102) + rig.decode(1, 103));
  }
}

TEST_CASE("does an arrival wait for the step in flight, and with asynchronous scheduling for one more?") {
  for (bool async : {false, true}) {
    Rig rig(async);
    const Ps first = rig.prefill(500);
    const Ps second = rig.decode(1, 501), third = rig.decode(1, 502);
    // The second request comes in the middle of the first decode step (step 1).
    const auto r = rig.run({request(0, Ps(0), 500, 50), request(1, first + second / 2, 200, 5)});
    CHECK(r[1].scheduled == first + second + (async ? third : Ps(0)));
    const Ps beside = rig.prefill(200, decode_set(1, async ? 503 : 502));
    CHECK(r[1].first_token == r[1].scheduled + beside);
  }
}

TEST_CASE("does an arrival exactly at a boundary join the step that is planned there?") {
  for (bool async : {false, true}) {
    Rig rig(async);
    const Ps boundary = rig.prefill(500) + rig.decode(1, 501);
    const auto r = rig.run({request(0, Ps(0), 500, 50), request(1, boundary, 200, 5)});
    CHECK(r[1].scheduled == boundary + (async ? rig.decode(1, 502) : Ps(0)));
  }
}

TEST_CASE("are arrivals of one instant seen together by an idle engine?") {
  Rig rig(true);
  const auto r = rig.run({request(0, Ps(5), 100, 2), request(1, Ps(5), 100, 2), request(2, Ps(5), 100, 2)});
  for (const auto& x : r) CHECK(x.scheduled == Ps(5));
}

TEST_CASE("does a slot freed at a boundary serve the waiting one step later under asynchronous scheduling?") {
  for (bool async : {false, true}) {
    Rig rig(async);
    rig.replica.scheduler.max_num_seqs = 2;
    const auto r =
        rig.run({request(0, Ps(0), 100, 3), request(1, Ps(0), 100, 50), request(2, Ps(0), 100, 3)});
    const Ps done = r[0].done;
    CHECK(r[2].scheduled == done + (async ? rig.decode(1, 103) : Ps(0)));
  }
}

TEST_CASE("is a request beyond max_model_len failed, counted, and no obstacle to the others?") {
  Rig rig(true);
  rig.replica.scheduler.max_model_len = 1000;
  const auto r = rig.run({request(0, Ps(0), 1000, 5), request(1, Ps(0), 900, 500)});
  CHECK(std::string(r[0].failure) == "prompt is at or beyond max_model_len");
  CHECK(r[1].failure == nullptr);
  CHECK(r[1].output_tokens == 100);  // cut at max_model_len
}

TEST_CASE("are settings that cannot run refused with a sentence?") {
  Rig rig(true);
  ClusterConfig none;
  test::ListSource source({});
  CHECK_THROWS_WITH(simulate(none, source, {}), "a cluster needs at least one replica");
  rig.replica.scheduler.max_num_batched_tokens = 8;
  ClusterConfig small;
  small.replicas = {rig.replica};
  CHECK_THROWS_AS(simulate(small, source, {}), ConfigError);
  rig.replica.scheduler.max_num_batched_tokens = 2048;
  small.replicas = {rig.replica};
  small.router = "least_request";
  try {
    simulate(small, source, {});
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(e.hint() == "did you mean 'least_requests'?");
  }
}

TEST_CASE("does the cut-off end a run and count who is unfinished?") {
  Rig rig(true);
  ClusterConfig cluster;
  cluster.replicas = {rig.replica};
  cluster.until = ps_from_ms(100);
  test::ListSource source({request(0, Ps(0), 100, 3), request(1, ps_from_ms(50), 100, 4000)});
  test::Records records;
  Observer* observers[] = {&records};
  const auto result = simulate(cluster, source, observers);
  CHECK(result.completed == 1);
  CHECK(result.unfinished == 1);
  CHECK(result.end == ps_from_ms(100));
}

TEST_CASE(
    "M/D/1: is the mean wait rho / (2 mu (1 - rho)) when requests are served one by one at a fixed time?") {
  // Pollaczek-Khinchine. One-token outputs of equal prompts, one at a time, no look-ahead: service is one
  // prefill step.
  Rig rig(false);
  rig.replica.scheduler.max_num_seqs = 1;
  const double service = to_seconds(rig.prefill(300)).value;
  for (double rho : {0.3, 0.6, 0.8}) {
    Rng rng(11, "arrivals");
    std::vector<Request> requests;
    double t = 0;
    for (int i = 0; i < 200000; ++i) {
      t += rng.exponential(service / rho);
      requests.push_back(request(i, to_ps(Seconds(t)), 300, 1));
    }
    double wait = 0;
    for (const auto& r : rig.run(requests)) wait += to_seconds(r.scheduled - r.arrival).value;
    CHECK(wait / 200000 == Approx(rho * service / (2 * (1 - rho))).epsilon(0.04));
  }
}
