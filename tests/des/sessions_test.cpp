// Requests that go on from each other's answers: what is sent, when, and what the prefix cache has of it.
#include <algorithm>
#include <map>

#include <catch2/catch.hpp>

#include "support/fake_engine.hpp"
#include "workload/source.hpp"

using namespace orrery;

namespace {

class Sent final : public Observer {
 public:
  std::vector<Request> requests;
  std::map<RequestId, RequestRecord> records;
  Tokens prefilled = 0;
  void on_arrival(const Request& r, CoreId) override { requests.push_back(r); }
  void on_request_done(const RequestRecord& r) override { records[r.id] = r; }
  void on_mixed_step(const MixedStep& s) override { prefilled += s.prefill_tokens; }
};

WorkloadSpec sessions_of(SessionSpec sessions, std::int32_t input, std::int32_t output) {
  WorkloadSpec spec;
  spec.sessions = sessions;
  spec.random_input_len = input, spec.random_output_len = output;
  spec.num_prompts = sessions.requests();  // one session
  return spec;
}

Sent run(const WorkloadSpec& spec, int block_size, bool stepwise = false, std::int64_t tokens = 1 << 20) {
  KernelPlan plan;
  plan.async_scheduling = false;
  ReplicaConfig replica;
  replica.scheduler.async_scheduling = false;
  replica.kv = {tokens / block_size + 1, block_size, true};
  replica.pricer = test::pricer(load_model("llama-3.1-8b"), plan);
  ClusterConfig cluster;
  cluster.replicas = {replica};
  cluster.stepwise = stepwise;
  const auto source = make_source(spec, 1);
  Sent sent;
  Observer* observers[] = {&sent};
  simulate(cluster, *source, observers);
  return sent;
}

}  // namespace

// Turn t + 1 begins with turn t's prompt and answer, of which all but the last token have been stored; the
// hit is their full blocks. Lengths: 100 + 50 shared and own, then 30 more to each answer of 40.
TEST_CASE("does each turn of a conversation hit the full blocks of all that was said before?") {
  SessionSpec sessions;
  sessions.turns = 4, sessions.system_tokens = 100, sessions.follow_up = 30;
  for (const int block : {1, 16}) {
    sessions.block_tokens = block;
    auto spec = sessions_of(sessions, 50, 40);
    spec.think_time_s = 7, spec.client_delay_s = 1;
    const Sent sent = run(spec, block);
    INFO("blocks of " << block);
    REQUIRE(sent.requests.size() == 4);
    Tokens said = 0, prompt = 150;
    for (std::size_t turn = 0; turn < 4; ++turn) {
      const RequestRecord& r = sent.records.at(sent.requests[turn].id);
      CHECK(r.turn == static_cast<std::int32_t>(turn));
      CHECK(r.prompt_tokens == prompt);
      CHECK(r.cached_tokens == std::max<Tokens>(0, said - 1) / block * block);
      if (turn > 0) {
        const RequestRecord& before = sent.records.at(sent.requests[turn - 1].id);
        CHECK(to_seconds(r.arrival - before.done).value == Approx(8));
      }
      said = prompt + 40;
      prompt = said + 30;
    }
  }
}

TEST_CASE("do sessions share their system prompt and nothing else?") {
  SessionSpec sessions;
  sessions.system_tokens = 128, sessions.turns = 1, sessions.block_tokens = 16;
  auto spec = sessions_of(sessions, 64, 4);
  spec.num_prompts = 10, spec.request_rate = 0.1;
  const Sent sent = run(spec, 16);
  REQUIRE(sent.records.size() == 10);
  for (const auto& [id, r] : sent.records) CHECK(r.cached_tokens == (id == 0 ? 0 : 128));
}

// A node is a call; three of them go on from each answer, with nothing added: 3 + 9 + 27. The first call
// computes its prompt of 100 tokens, every other one the single token that the cache does not give: of equal
// prompts the last, of a parent's text the answer's last, which was never stored.
TEST_CASE("does a tree of thoughts of breadth 3 and depth 3 make 39 calls and compute only what is new?") {
  SessionSpec sessions;
  sessions.turns = 3, sessions.branches = 3, sessions.follow_up = 0, sessions.block_tokens = 1;
  CHECK(sessions.requests() == 39);
  const Sent sent = run(sessions_of(sessions, 100, 20), 1);
  CHECK(sent.records.size() == 39);
  CHECK(sent.prefilled == 100 + 38);
  std::map<std::int32_t, int> by_level;
  for (const auto& [id, r] : sent.records) {
    ++by_level[r.turn];
    CHECK(r.prompt_tokens == 100 + 20 * r.turn);
  }
  CHECK(by_level == std::map<std::int32_t, int>{{0, 3}, {1, 9}, {2, 27}});
}

// Branches wait for their own parent's answer only, and thoughts of different parents are different text.
TEST_CASE("does a branch share its parent's answer and not its uncle's?") {
  SessionSpec sessions;
  sessions.turns = 2, sessions.branches = 2, sessions.follow_up = 5, sessions.block_tokens = 1;
  const Sent sent = run(sessions_of(sessions, 10, 6), 1);
  REQUIRE(sent.requests.size() == 6);
  const auto& ids = [&](std::size_t i) -> const std::vector<std::uint64_t>& {
    return sent.requests[i].prefix->ids;
  };
  const auto shared = [&](std::size_t a, std::size_t b) {
    return std::mismatch(ids(a).begin(), ids(a).begin() + 16, ids(b).begin()).first - ids(a).begin();
  };
  CHECK(shared(0, 1) == 10);  // equal prompts, two answers
  int with_first = 0, with_second = 0;
  for (std::size_t child = 2; child < 6; ++child) {
    with_first += shared(0, child) == 16 ? 1 : 0;
    with_second += shared(1, child) == 16 ? 1 : 0;
  }
  CHECK(with_first == 2);
  CHECK(with_second == 2);
}

TEST_CASE("are sessions the same step by step, with answers evicted and prompts preempted?") {
  SessionSpec sessions;
  sessions.turns = 5, sessions.branches = 1, sessions.system_tokens = 50, sessions.block_tokens = 16;
  auto spec = sessions_of(sessions, 200, 150);
  spec.random_range_ratio = 0.3, spec.num_prompts = 200, spec.request_rate = 4, spec.think_time_s = 2;
  spec.think_time_cv = 1;
  const Sent fast = run(spec, 16, false, 6000), slow = run(spec, 16, true, 6000);
  Tokens hits = 0;
  REQUIRE(fast.records.size() == 200);
  for (const auto& [id, r] : fast.records) {
    const RequestRecord& twin = slow.records.at(id);
    REQUIRE(r.done == twin.done);
    REQUIRE(r.cached_tokens == twin.cached_tokens);
    hits += r.cached_tokens;
  }
  CHECK(hits > 1000);
}
