// Replicas that fail, drain and come back. Expected times are sums of the pricer's steps, written out here.
#include <map>

#include <catch2/catch.hpp>

#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

struct Rig {
  std::shared_ptr<StepPricer> price;
  ClusterConfig cluster;
  test::Records told;

  explicit Rig(int replicas, bool async = false) {
    KernelPlan plan;
    plan.async_scheduling = async;
    price = test::pricer(load_model("llama-3.1-8b"), plan);
    ReplicaConfig replica;
    replica.scheduler.async_scheduling = async;
    replica.kv = {5000, 16, false};
    replica.pricer = price;
    cluster.replicas.assign(static_cast<std::size_t>(replicas), replica);
    cluster.fleet.emplace();
  }
  SimulationResult run(const std::vector<Request>& requests) {
    test::ListSource source(requests);
    Observer* observers[] = {&told};
    return simulate(cluster, source, observers);
  }
  Ps prompt(Tokens tokens) {
    const PrefillChunk chunk{tokens, 0};
    return price->mixed({}, {&chunk, 1});
  }
  /// `steps` decode steps, the first of which reads `context` tokens.
  Ps decode(Tokens context, Tokens steps) {
    Ps sum{0};
    for (Tokens i = 0; i < steps; ++i) {
      DecodeSet set;
      set.seqs = 1, set.context = context + i;
      sum += price->decode(set).first;
    }
    return sum;
  }
  const RequestRecord& record(RequestId id) const {
    for (const RequestRecord& r : told.all) {
      if (r.id == id) return r;
    }
    FAIL("request " << id << " has not left");
    return told.all.front();
  }
  Ps when(int replica, ReplicaState state) const {
    Ps last = kNever;
    for (const ReplicaChange& c : told.changes) {
      if (c.replica == replica && c.state == state) last = c.time;
    }
    return last;
  }
};

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

}  // namespace

TEST_CASE("does a request whose replica fails go on elsewhere behind what its client has?") {
  for (const bool async : {false, true}) {
    Rig rig(2, async);
    const Ps half = rig.decode(1001, 20) + rig.decode(1021, 1) / 2;  // in the 21st step
    const Ps dies = rig.prompt(1000) + half;
    rig.cluster.fleet->outages = {{0, dies, ps_from_ms(1e6)}};
    const SimulationResult result = rig.run({request(0, Ps(0), 1000, 100)});
    REQUIRE(rig.told.retries.size() == 1);
    CHECK(rig.told.retries[0].delivered == 21);
    CHECK(rig.told.retries[0].discarded == 0);
    const RequestRecord& r = rig.record(0);
    CHECK(r.first_token == rig.prompt(1000));
    CHECK(r.replica == 1);
    CHECK(r.output_tokens == 100);
    // The prompt and 21 tokens are computed again, which yields the 22nd; 78 are left.
    CHECK(r.done == dies + rig.prompt(1021) + rig.decode(1022, 78));
    CHECK(rig.told.tokens == 100);
    CHECK(result.busy[0] == dies);
    CHECK(result.busy[1] == r.done - dies);
  }
}

TEST_CASE("does a request that starts again discard what was streamed, and see its first token later?") {
  Rig rig(2);
  const Ps dies = rig.prompt(1000) + rig.decode(1001, 20) + Ps(1);
  rig.cluster.fleet->outages = {{0, dies, ps_from_ms(1e6)}};
  rig.cluster.fleet->retry = RetryPolicy::restart;
  rig.cluster.fleet->retry_delay = ps_from_ms(7);
  rig.run({request(0, Ps(0), 1000, 100)});
  REQUIRE(rig.told.retries.size() == 1);
  CHECK(rig.told.retries[0].discarded == 21);
  CHECK(rig.record(0).first_token == dies + ps_from_ms(7) + rig.prompt(1000));
  CHECK(rig.record(0).done == rig.record(0).first_token + rig.decode(1001, 99));
  CHECK(rig.told.tokens == 121);
}

TEST_CASE("do requests fail with their replica where nobody sends them again?") {
  Rig rig(2);
  rig.cluster.fleet->outages = {{0, rig.prompt(1000) + Ps(1), ps_from_ms(1e6)}};
  rig.cluster.fleet->retry = RetryPolicy::none;
  const auto result = rig.run({request(0, Ps(0), 1000, 100), request(1, Ps(0), 1000, 100)});
  CHECK(result.failed == 1);
  CHECK(result.completed == 1);
  CHECK(rig.record(0).failure != nullptr);
}

TEST_CASE("do requests wait for the only replica to be repaired and started?") {
  Rig rig(1);
  const Ps dies = ps_from_ms(1), repair = ps_from_ms(500), boot = ps_from_ms(300);
  rig.cluster.fleet->outages = {{0, dies, repair}};
  rig.cluster.fleet->cold_start = {boot, ps_from_ms(200), 4e9, 1e10, ps_from_ms(100)};
  const Ps back = dies + repair + boot + ps_from_ms(200 + 400 + 100);
  rig.run({request(0, Ps(0), 1000, 10), request(1, ps_from_ms(600), 500, 10)});
  CHECK(rig.when(0, ReplicaState::starting) == dies + repair);
  CHECK(rig.when(0, ReplicaState::up) == back);
  const PrefillChunk both[] = {{1000, 0}, {500, 0}};
  CHECK(rig.record(0).first_token == back + rig.price->mixed({}, both));
  CHECK(rig.record(1).first_token == rig.record(0).first_token);
  CHECK(rig.told.tokens == 20);
}

TEST_CASE("is a request that loses too many replicas given up?") {
  Rig rig(1);
  for (int i = 0; i < 5; ++i) rig.cluster.fleet->outages.push_back({0, ps_from_ms(1 + 10 * i), Ps(0)});
  rig.cluster.fleet->max_retries = 2;
  const auto result = rig.run({request(0, Ps(0), 4000, 10), request(1, ps_from_ms(100), 500, 10)});
  CHECK(rig.told.retries.size() == 2);
  CHECK(rig.record(0).failure != nullptr);
  CHECK(rig.record(0).done == ps_from_ms(21));
  CHECK(result.completed == 1);
}

TEST_CASE("does a replica that drains finish what it has, take no more, and then stop?") {
  Rig rig(2);
  rig.cluster.fleet->drains = {{0, ps_from_ms(2)}};
  rig.cluster.replicas[0].front_end.out = rig.cluster.replicas[1].front_end.out = ps_from_ms(5);
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) requests.push_back(request(i, ps_from_ms(10 * i), 500, 200));
  rig.run(requests);
  CHECK(rig.record(0).replica == 0);
  CHECK(rig.told.retries.empty());
  for (int i = 1; i < 10; ++i) CHECK(rig.record(i).replica == 1);
  CHECK(rig.when(0, ReplicaState::draining) == ps_from_ms(2));
  CHECK(rig.when(0, ReplicaState::down) == rig.record(0).done - ps_from_ms(5));
}

TEST_CASE("is an availability of MTBF / (MTBF + MTTR + start) what random failures leave?") {
  Rig rig(4);
  rig.cluster.fleet->mtbf_s = 20;
  rig.cluster.fleet->mttr_s = 5;
  rig.cluster.fleet->cold_start.boot = ps_from_ms(5000);
  rig.cluster.fleet->max_retries = 1000;
  std::vector<Request> requests;
  for (int i = 0; i < 20000; ++i) requests.push_back(request(i, ps_from_ms(1000 * i), 10, 1));
  rig.run(requests);
  std::map<int, Ps> since;
  Ps up{0};
  for (const ReplicaChange& c : rig.told.changes) {
    if (c.state == ReplicaState::up) since[c.replica] = c.time;
    if (c.state == ReplicaState::down) up += c.time - since[c.replica], since.erase(c.replica);
  }
  const Ps end = rig.told.all.back().done;
  for (const auto& [replica, start] : since) up += end - start;
  const double share = to_seconds(up).value / to_seconds(end).value / 4;
  CHECK(share == Approx(20.0 / 30).epsilon(0.03));
}

TEST_CASE("is a failure or a drain of a replica that is not there refused in one sentence?") {
  Rig outage(2), drain(2);
  outage.cluster.fleet->outages = {{2, Ps(0), Ps(0)}};
  drain.cluster.fleet->drains = {{-1, Ps(0)}};
  CHECK_THROWS_WITH(outage.run({}), "a failure names replica 2, and there are 2, numbered from 0");
  CHECK_THROWS_AS(drain.run({}), ConfigError);
}

TEST_CASE("does a run end in a sentence when nobody comes back for the requests that wait?") {
  Rig rig(1);
  rig.cluster.fleet->drains = {{0, Ps(0)}};
  CHECK_THROWS_AS(rig.run({request(0, ps_from_ms(5), 10, 10)}), ConfigError);
}

namespace {

AutoscaleParams autoscale(AutoscaleParams::Signal signal, double target, int max) {
  AutoscaleParams p;
  p.min = 1, p.max = max, p.signal = signal, p.target = target;
  p.interval = ps_from_ms(1000), p.cooldown = ps_from_ms(10000);
  return p;
}

/// Up replicas after each change of their number.
std::vector<std::pair<Ps, int>> up_over_time(const test::Records& told) {
  std::vector<std::pair<Ps, int>> out;
  std::map<int, bool> up;
  for (const ReplicaChange& c : told.changes) {
    const bool is_up = c.state == ReplicaState::up;
    if (up[c.replica] == is_up) continue;
    up[c.replica] = is_up;
    const int before = out.empty() ? 0 : out.back().second;
    out.emplace_back(c.time, before + (is_up ? 1 : -1));
  }
  return out;
}

/// `rate` requests a second from `start` to `end`, as even as a clock.
void add_load(std::vector<Request>& out, double rate, double start_s, double end_s, std::int32_t output) {
  for (double t = start_s; t < end_s; t += 1 / rate)
    out.push_back(request(static_cast<RequestId>(out.size()), to_ps(Seconds(t)), 200, output));
}

}  // namespace

TEST_CASE("does an even load end in a number of replicas that stays?") {
  Rig rig(8);
  rig.cluster.fleet->initial = 1;
  rig.cluster.fleet->autoscale = autoscale(AutoscaleParams::Signal::rps, 2, 8);
  rig.cluster.fleet->cold_start.boot = ps_from_ms(2500);
  std::vector<Request> requests;
  add_load(requests, 9, 0, 200, 20);  // 4.5 replicas
  rig.run(requests);
  const auto up = up_over_time(rig.told);
  CHECK(up.back().second == 5);
  CHECK(up.back().first < ps_from_ms(5000));
  CHECK(rig.told.all.size() == requests.size());
}

TEST_CASE("does relief from a step of load come one look and one cold start later, and leave after it?") {
  for (const double cold_s : {1.0, 5.0}) {
    Rig rig(2);
    rig.cluster.fleet->initial = 1;
    rig.cluster.fleet->autoscale = autoscale(AutoscaleParams::Signal::concurrency, 8, 2);
    rig.cluster.fleet->cold_start.boot = to_ps(Seconds(cold_s));
    std::vector<Request> requests;
    add_load(requests, 2, 0, 10, 100);
    add_load(requests, 20, 10.05, 40, 100);
    add_load(requests, 2, 40, 80, 100);
    rig.run(requests);
    const auto up = up_over_time(rig.told);
    REQUIRE(up.size() >= 3);  // the first is there from the beginning
    const Ps relief = up[1].first;
    CHECK(up[1].second == 2);
    const Ps asked = relief - to_ps(Seconds(cold_s));
    CHECK(asked >= ps_from_ms(11000));
    CHECK(asked <= ps_from_ms(13000));
    CHECK(asked.value % ps_from_ms(1000).value == 0);
    CHECK(up[2].second == 1);
    CHECK(up[2].first >= ps_from_ms(40000));  // what is drained was not needed any more
    for (const RequestRecord& r : rig.told.all) CHECK(r.failure == nullptr);
  }
}

TEST_CASE("does nobody start or stop while the signal is at its target?") {
  Rig rig(4);
  rig.cluster.fleet->initial = 2;
  rig.cluster.fleet->autoscale = autoscale(AutoscaleParams::Signal::rps, 5, 4);
  rig.cluster.fleet->autoscale->min = 2;
  std::vector<Request> requests;
  add_load(requests, 10, 0, 60, 5);
  rig.run(requests);
  CHECK(rig.told.changes.size() == 4);
}

TEST_CASE("do waiting first tokens bring replicas, and is what starts not asked for again?") {
  Rig rig(8);
  rig.cluster.fleet->initial = 1;
  rig.cluster.replicas.assign(8, [&] {
    ReplicaConfig slow = rig.cluster.replicas.front();
    slow.scheduler.max_num_seqs = 1;
    return slow;
  }());
  rig.cluster.fleet->autoscale = autoscale(AutoscaleParams::Signal::ttft, 1, 8);
  rig.cluster.fleet->cold_start.boot = ps_from_ms(3000);
  std::vector<Request> requests;
  add_load(requests, 4, 0, 60, 200);
  rig.run(requests);
  const auto up = up_over_time(rig.told);
  int most = 0;
  for (const auto& [when, count] : up) most = std::max(most, count);
  CHECK(most > 2);
  CHECK(rig.told.all.size() == requests.size());
}

namespace {

/// Two GPUs, each a replica; one is taken away and the other goes on with all.
Rig one_of_two_goes(RemeshPolicy policy) {
  Rig rig(3);
  FleetConfig& fleet = *rig.cluster.fleet;
  fleet.initial = 2;
  fleet.remesh_policy = policy;
  fleet.remeshings = {{ps_from_ms(200), ps_from_ms(300), {0, 1}, {2}, {2, 1, 1}, {1, 1, 1}, {1}}};
  fleet.cold_start = {Ps(0), Ps(0), 16e9, 8e9, ps_from_ms(500)};  // 2.5 s in all
  fleet.migration_bytes_per_s = 1e10;
  fleet.kv_bytes = [](Tokens tokens) { return 131072.0 * static_cast<double>(tokens); };
  return rig;
}

}  // namespace

TEST_CASE("is no token that a client has computed again when GPUs are taken away and caches move?") {
  Rig rig = one_of_two_goes(RemeshPolicy::migrate);
  rig.run({request(0, Ps(0), 1000, 300), request(1, Ps(0), 2000, 300)});
  REQUIRE(rig.told.retries.size() == 2);
  const Tokens first = rig.told.retries[0].delivered, second = rig.told.retries[1].delivered;
  // The GPU that stays has all weights: nothing to move but the other one's cache.
  const Ps stop = ps_from_ms(500);
  CHECK(rig.told.retries[0].time == stop);
  CHECK(rig.prompt(1000) + rig.decode(1001, first - 1) <= stop);
  CHECK(rig.prompt(1000) + rig.decode(1001, first) > stop);
  const Ps back = rig.when(2, ReplicaState::up);
  CHECK(back == stop + to_ps(Seconds(131072.0 * static_cast<double>(1000 + first - 1) / 1e10)));
  // Each goes on with a chunk of one token, of the shorter cache as well as of the longer.
  const PrefillChunk next[] = {{1, 1000 + first - 1}, {1, 2000 + second - 1}};
  const Ps joined = back + rig.price->mixed({}, next);
  Ps left = rig.record(1).done;
  DecodeSet both;
  both.seqs = 2, both.context = 1000 + first + 1 + 2000 + second + 1;
  CHECK(left > joined + rig.price->decode(both).first);
  CHECK(rig.told.tokens == 600);
  CHECK(rig.record(0).first_token == rig.prompt(1000));
}

TEST_CASE("do requests start again behind a cold start where the engines are restarted?") {
  Rig rig = one_of_two_goes(RemeshPolicy::restart);
  rig.cluster.fleet->retry = RetryPolicy::restart;
  rig.run({request(0, Ps(0), 1000, 300), request(1, Ps(0), 2000, 300)});
  const Ps back = ps_from_ms(200 + 300 + 2000 + 500);
  CHECK(rig.when(2, ReplicaState::up) == back);
  const PrefillChunk both[] = {{1000, 0}, {2000, 0}};
  CHECK(rig.record(0).first_token == back + rig.price->mixed({}, both));
  CHECK(rig.told.tokens == 600 + rig.told.retries[0].discarded + rig.told.retries[1].discarded);
}
