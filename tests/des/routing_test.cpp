// What routers and admission control do to a cluster.
#include <algorithm>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "serving/router.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

ClusterConfig cluster_of(int replicas, const std::string& router) {
  ReplicaConfig replica;
  replica.scheduler.max_num_seqs = 64;
  replica.scheduler.max_num_batched_tokens = 2048;
  replica.scheduler.max_model_len = 8192;
  replica.kv = {4001, 16, true};
  replica.pricer = test::pricer(load_model("llama-3.1-8b"), {});
  ClusterConfig cluster;
  cluster.replicas.assign(static_cast<std::size_t>(replicas), replica);
  cluster.router = router;
  return cluster;
}

struct Outcome {
  std::vector<RequestRecord> records;
  SimulationResult result;
};

Outcome run(const ClusterConfig& cluster, const std::vector<Request>& requests, Observer* more = nullptr) {
  test::Records records;
  test::ListSource source(requests);
  std::vector<Observer*> observers{&records};
  if (more) observers.push_back(more);
  Outcome out;
  out.result = simulate(cluster, source, observers);
  out.records = std::move(records.all);
  return out;
}

std::vector<Request> requests_at(double rate, int n, std::int32_t prompt, std::int32_t output) {
  Rng rng(1, "arrivals");
  std::vector<Request> out;
  double t = 0;
  for (int i = 0; i < n; ++i) {
    Request r;
    r.id = i;
    r.arrival = to_ps(Seconds(t += rng.exponential(1 / rate)));
    r.prompt_tokens = prompt, r.output_tokens = output;
    out.push_back(r);
  }
  return out;
}

/// Turns of conversations, each of which repeats the one before it.
std::vector<Request> conversations(int sessions, int turns) {
  auto out = requests_at(20, sessions * turns, 0, 20);
  for (int i = 0; i < sessions * turns; ++i) {
    Request& r = out[static_cast<std::size_t>(i)];
    r.session = i % sessions;
    r.prompt_tokens = 256 * (1 + i / sessions);
    PrefixKeys keys;
    keys.block_tokens = 64;
    for (int k = 0; k < r.prompt_tokens / 64; ++k)
      keys.ids.push_back(static_cast<std::uint64_t>(r.session) * 1000 + static_cast<std::uint64_t>(k));
    r.prefix = std::make_shared<PrefixKeys>(std::move(keys));
  }
  return out;
}

/// Most requests on one replica less the fewest, on the mean over arrivals.
class Imbalance final : public Observer {
 public:
  explicit Imbalance(int replicas) : at_(static_cast<std::size_t>(replicas)) {}
  void on_arrival(const Request&, CoreId where) override {
    ++at_[static_cast<std::size_t>(where.replica)];
    const auto [least, most] = std::minmax_element(at_.begin(), at_.end());
    sum_ += static_cast<double>(*most - *least), ++samples_;
  }
  void on_request_done(const RequestRecord& r) override { --at_[static_cast<std::size_t>(r.replica)]; }
  double mean() const { return sum_ / samples_; }

 private:
  std::vector<std::int64_t> at_;
  double sum_ = 0, samples_ = 0;
};

double imbalance(ClusterConfig cluster, Ps interval, const std::vector<Request>& requests) {
  cluster.router_snapshot_interval = interval;
  Imbalance seen(static_cast<int>(cluster.replicas.size()));
  run(cluster, requests, &seen);
  return seen.mean();
}

std::int64_t count(const Outcome& o, const std::string& reason) {
  return std::count_if(o.records.begin(), o.records.end(), [&](const RequestRecord& r) {
    return r.failure && std::string(r.failure).find(reason) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("do sessions that stay together find their earlier turns in the cache?") {
  const auto requests = conversations(24, 12);
  const Outcome sticky = run(cluster_of(4, "session_sticky"), requests);
  const Outcome robin = run(cluster_of(4, "random"), requests);
  std::map<int, std::set<int>> replicas;
  for (const RequestRecord& r : sticky.records)
    replicas[requests[static_cast<std::size_t>(r.id)].session].insert(r.replica);
  for (const auto& session : replicas) CHECK(session.second.size() == 1);
  CHECK(2 * sticky.result.prefix_hit_tokens > 3 * robin.result.prefix_hit_tokens);
  // Every turn but a session's first hits all of the turn before it.
  std::int64_t repeated = 0;
  for (const Request& r : requests) repeated += r.prompt_tokens - 256;
  CHECK(20 * sticky.result.prefix_hit_tokens >= 19 * repeated);
}

// Mitzenmacher, How Useful Is Old Information?, 2000: with old information all go where there was room.
TEST_CASE("does a router that looks seldom send crowds to one replica?") {
  const auto requests = requests_at(60, 1500, 200, 60);
  const ClusterConfig cluster = cluster_of(8, "least_requests");
  const double fresh = imbalance(cluster, Ps(0), requests);
  const double tenth = imbalance(cluster, ps_from_ms(100), requests);
  const double second = imbalance(cluster, ps_from_ms(1000), requests);
  CHECK(tenth > 1.5 * fresh);
  CHECK(second > 3 * tenth);
}

TEST_CASE("is a snapshot shorter than the time between arrivals no snapshot?") {
  const auto requests = requests_at(60, 500, 200, 60);
  for (const char* router : {"least_requests", "kv_utilisation", "weighted"}) {
    ClusterConfig cluster = cluster_of(4, router);
    const Outcome fresh = run(cluster, requests);
    cluster.router_snapshot_interval = Ps(1);
    const Outcome looked = run(cluster, requests);
    REQUIRE(fresh.records.size() == looked.records.size());
    for (std::size_t i = 0; i < fresh.records.size(); ++i) {
      CHECK(fresh.records[i].id == looked.records[i].id);
      CHECK(fresh.records[i].replica == looked.records[i].replica);
      CHECK(fresh.records[i].done == looked.records[i].done);
    }
  }
}

TEST_CASE("do replicas chosen by their KV use share long and short prompts more evenly than in turn?") {
  auto requests = requests_at(20, 600, 200, 100);
  for (std::size_t i = 0; i < requests.size(); i += 4)
    requests[i].prompt_tokens = 4000;  // always in turn to one
  const auto share = [&](const char* router) {
    const Outcome o = run(cluster_of(4, router), requests);
    std::vector<double> tokens(4);
    for (const RequestRecord& r : o.records)
      tokens[static_cast<std::size_t>(r.replica)] += static_cast<double>(r.prompt_tokens);
    return *std::max_element(tokens.begin(), tokens.end()) / *std::min_element(tokens.begin(), tokens.end());
  };
  CHECK(share("round_robin") > 10);
  CHECK(share("kv_utilisation") < 1.5);
}

TEST_CASE("do no more requests wait than the queue holds, and are the others refused with the reason?") {
  ClusterConfig cluster = cluster_of(1, "round_robin");
  cluster.replicas[0].scheduler.max_num_seqs = 4;
  const auto requests = requests_at(200, 400, 500, 100);
  CHECK(run(cluster, requests).result.failed == 0);
  cluster.replicas[0].scheduler.max_queued_requests = 10;
  const Outcome limited = run(cluster, requests);
  CHECK(limited.result.peak_waiting == 10);
  CHECK(limited.result.failed > 0);
  CHECK(count(limited, "queue is full") == limited.result.failed);
  CHECK(limited.result.completed + limited.result.failed == 400);
  // Who is let in waits at most for those ten and the four that run: Little's law on the queue.
  Ps longest{0};
  for (const RequestRecord& r : limited.records) {
    if (!r.failure) longest = std::max(longest, r.scheduled - r.queued);
  }
  const double rate = static_cast<double>(limited.result.completed) / to_seconds(limited.result.end).value;
  CHECK(to_seconds(longest).value < 2 * 10 / rate);
}

TEST_CASE("does shedding what is overdue keep the others in time where serving all makes most late?") {
  ClusterConfig cluster = cluster_of(1, "round_robin");
  SchedulerConfig& scheduler = cluster.replicas[0].scheduler;
  scheduler.max_num_seqs = 4;
  scheduler.queue.policy = "edf", scheduler.queue.deadlines_s = {0.5};
  const auto requests = requests_at(60, 600, 500, 100);
  const auto in_time = [](const Outcome& o) {
    return std::count_if(o.records.begin(), o.records.end(), [](const RequestRecord& r) {
      return !r.failure && r.first_token - r.arrival <= ps_from_ms(550);
    });
  };
  const Outcome all = run(cluster, requests);
  scheduler.shed_overdue = true;
  const Outcome shed = run(cluster, requests);
  CHECK(all.result.failed == 0);
  CHECK(count(shed, "overdue") == shed.result.failed);
  CHECK(shed.result.failed > 0);
  CHECK(in_time(shed) == shed.result.completed);
  CHECK(in_time(shed) > 3 * in_time(all));
}

TEST_CASE("is shedding refused without deadlines?") {
  ClusterConfig cluster = cluster_of(1, "round_robin");
  cluster.replicas[0].scheduler.shed_overdue = true;
  CHECK_THROWS_WITH(run(cluster, {}), Catch::Contains("knows no deadlines"));
}
