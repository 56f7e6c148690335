#include <queue>
#include <set>

#include <catch2/catch.hpp>

#include "workload/source.hpp"

using namespace orrery;

namespace {

/// A server that answers every request after the same time, however many there are; records what it was sent.
struct PerfectServer {
  Ps service;
  std::vector<Request> sent;
  std::size_t most_at_once = 0;

  void serve(RequestSource& source) {
    const auto later = [](const Request& a, const Request& b) { return a.arrival > b.arrival; };
    std::priority_queue<Request, std::vector<Request>, decltype(later)> in_system(later);
    Request r;
    for (;;) {
      while (source.next(r)) {
        sent.push_back(r);
        in_system.push(r);
      }
      most_at_once = std::max(most_at_once, in_system.size());
      if (in_system.empty()) return;
      const Request done = in_system.top();
      in_system.pop();
      source.completed(done, done.arrival + service);
    }
  }
};

}  // namespace

TEST_CASE("does a closed loop send a new request for each answer, and never more than its users?") {
  WorkloadSpec spec;
  spec.max_concurrency = 4;
  spec.num_prompts = 40;
  const auto source = make_source(spec, 1);
  CHECK(source->closed_loop());
  CHECK(source->total() == 40);
  PerfectServer server{to_ps(Seconds(2)), {}};
  server.serve(*source);
  REQUIRE(server.sent.size() == 40);
  CHECK(server.most_at_once == 4);
  for (std::size_t i = 0; i < 40; ++i) CHECK(server.sent[i].arrival == to_ps(Seconds(2.0 * double(i / 4))));
}

TEST_CASE("does a client wait its delay and think before it asks again?") {
  WorkloadSpec spec;
  spec.max_concurrency = 1;
  spec.num_prompts = 3;
  spec.client_delay_s = 0.5;
  spec.think_time_s = 1;
  PerfectServer server{to_ps(Seconds(2)), {}};
  server.serve(*make_source(spec, 1));
  CHECK(server.sent.at(2).arrival == to_ps(Seconds(7)));

  spec.num_prompts = 2000;
  spec.think_time_cv = 1;
  PerfectServer random{to_ps(Seconds(2)), {}};
  random.serve(*make_source(spec, 1));
  CHECK(to_seconds(random.sent.back().arrival).value / 1999 == Approx(3.5).epsilon(0.03));
}

TEST_CASE("does a request rate hold back a closed loop that has free users?") {
  WorkloadSpec spec;
  spec.max_concurrency = 100;
  spec.num_prompts = 10;
  spec.request_rate = 2;
  spec.arrivals.process = "constant";
  PerfectServer server{to_ps(Seconds(1)), {}};
  server.serve(*make_source(spec, 1));
  CHECK(server.sent.at(9).arrival == to_ps(Seconds(4.5)));
}

TEST_CASE("is an open loop deaf to answers?") {
  WorkloadSpec spec;
  spec.num_prompts = 2;
  const auto source = make_source(spec, 1);
  CHECK_FALSE(source->closed_loop());
  Request r;
  while (source->next(r)) continue;
  source->completed(r, Ps(5));
  CHECK_FALSE(source->next(r));
}

TEST_CASE("do users of a group share the blocks of the system prompt, and repeat their own?") {
  WorkloadSpec spec;
  spec.prefix.groups = 2, spec.prefix.users = 3, spec.prefix.system_tokens = 100,
  spec.prefix.question_tokens = 447;
  spec.random_output_len = 248;
  spec.num_prompts = 12;
  const auto source = make_source(spec, 1);
  std::vector<Request> all;
  Request r;
  while (source->next(r)) all.push_back(r);
  REQUIRE(all.size() == 12);
  CHECK(all[0].prompt_tokens == 547);
  CHECK(all[0].output_tokens == 248);
  const auto ids = [&](std::size_t i) { return all[i].prefix->ids; };
  CHECK(all[0].prefix->block_tokens == 16);
  CHECK(ids(0).size() == 35);  // ceil(547 / 16)
  CHECK(ids(0) == ids(6));     // six (group, user) pairs in turn
  CHECK(all[0].client == all[6].client);
  std::set<std::uint64_t> groups, all_ids;
  for (std::size_t i = 0; i < 6; ++i) {
    groups.insert(ids(i)[5]);  // the sixth block ends at token 96: system prompt only
    const auto list = ids(i);
    all_ids.insert(list.begin(), list.end());
  }
  CHECK(groups.size() == 2);
  CHECK(all_ids.size() == 2 * 6 + 6 * 29);
}
