// Several plans in flight, as in a pipeline: who may be in which of them.
#include <deque>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "serving/scheduler.hpp"

using namespace orrery;

namespace {

struct InFlight {
  BatchPlan plan;
  std::set<SeqIndex> waiting_for_token;  ///< decoding in it, or with the end of their prompt in it
};

Request request(RequestId id, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

SchedulerConfig lanes(int n, std::int64_t seqs, Tokens budget) {
  SchedulerConfig c;
  c.lanes = n, c.max_num_seqs = seqs, c.max_num_batched_tokens = budget, c.max_model_len = 4096;
  c.async_scheduling = false;
  return c;
}

}  // namespace

TEST_CASE("is a sequence in one batch at a time, and no token lost, whoever is preempted?") {
  std::int64_t preemptions = 0, chunks_behind = 0;
  int most_in_flight = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    Rng rng(seed, "lanes");
    SchedulerConfig config = lanes(static_cast<int>(rng.uniform_int(2, 5)), rng.uniform_int(4, 40), 256);
    config.scheduler = seed % 3 == 1 ? "sglang" : seed % 3 == 2 ? "trtllm" : "vllm-v1";
    config.enable_mixed_chunk = rng.uniform() < 0.5;
    config.reserve_full_isl = rng.uniform() < 0.5;
    KvConfig kv{rng.uniform_int(70, 200), 16, rng.uniform() < 0.5};
    const auto scheduler = make_scheduler(config, kv, {});
    std::map<SeqIndex, Tokens> tokens;  // delivered
    std::deque<InFlight> flights;
    const auto in_flight = [&](SeqIndex seq) {
      return std::any_of(flights.begin(), flights.end(),
                         [&](const InFlight& f) { return f.waiting_for_token.count(seq) > 0; });
    };
    int to_come = 60, left = 60;
    while (left > 0) {
      if (to_come > 0 && rng.uniform() < 0.3) {
        const char* refusal = nullptr;
        const auto prompt = static_cast<std::int32_t>(rng.uniform_int(1, 700));
        REQUIRE(
            scheduler->add(request(60 - to_come, prompt, static_cast<std::int32_t>(rng.uniform_int(1, 150))),
                           Ps(0), &refusal) != kNoSeq);
        --to_come;
      }
      InFlight next;
      if (scheduler->has_free_lane() && rng.uniform() < 0.7) scheduler->schedule(next.plan);
      if (!next.plan.empty()) {
        preemptions += std::ssize(next.plan.preempted);
        std::vector<DecodeMember> members;
        scheduler->expand(next.plan, members);
        for (const DecodeMember& m : members) {
          REQUIRE_FALSE(in_flight(m.seq));
          next.waiting_for_token.insert(m.seq);
          // Its KV cache holds all its tokens but the one it computes next.
          REQUIRE(m.context == scheduler->sequence(m.seq).request.prompt_tokens + tokens[m.seq] - 1);
        }
        for (const ScheduledChunk& c : next.plan.chunks) {
          REQUIRE_FALSE(in_flight(c.seq));
          for (const InFlight& f : flights)
            for (const auto& before : f.plan.chunks) chunks_behind += before.seq == c.seq;
          if (c.last) {
            next.waiting_for_token.insert(c.seq);
            REQUIRE(c.tokens.past + c.tokens.new_tokens ==
                    scheduler->sequence(c.seq).request.prompt_tokens + tokens[c.seq]);
          }
        }
        for (const InFlight& f : flights) REQUIRE(f.plan.lane != next.plan.lane);
        flights.push_back(std::move(next));
        most_in_flight = std::max(most_in_flight, static_cast<int>(flights.size()));
        REQUIRE(std::ssize(flights) <= config.lanes);
        REQUIRE(scheduler->running() <= config.max_num_seqs);
      } else if (!flights.empty()) {
        const InFlight done = std::move(flights.front());
        flights.pop_front();
        for (const SeqIndex seq : done.waiting_for_token) ++tokens[seq];
        scheduler->complete(done.plan);
        for (const SeqIndex seq : done.plan.finishing) {
          REQUIRE(tokens[seq] == scheduler->sequence(seq).request.output_tokens);
          tokens.erase(seq);
          scheduler->release_slot(seq);
          --left;
        }
      }
    }
    REQUIRE(flights.empty());
    CHECK(scheduler->kv().free_blocks() == scheduler->kv().total_blocks());
  }
  CHECK(preemptions > 100);
  CHECK(chunks_behind > 100);  // a prompt's chunks were in consecutive batches
  CHECK(most_in_flight == 5);
}

TEST_CASE("do lanes share slots and blocks, and each take its own decode set in turn?") {
  const auto scheduler = make_scheduler(lanes(2, 3, 64), {1000, 16, false}, {});
  const char* refusal = nullptr;
  for (int i = 0; i < 4; ++i) scheduler->add(request(i, 60, 10), Ps(0), &refusal);
  BatchPlan a, b, c;
  scheduler->schedule(a);  // the first prompt and the beginning of the second
  scheduler->schedule(b);  // the rest of the second, and of the third what the budget leaves
  CHECK_FALSE(scheduler->has_free_lane());
  CHECK(a.lane != b.lane);
  REQUIRE(a.chunks.size() == 2);
  CHECK(a.chunks[1].tokens.new_tokens == 4);
  REQUIRE(b.chunks.size() == 2);
  CHECK(b.chunks[0].tokens.past == 4);
  CHECK(b.chunks[0].last);
  CHECK(b.decode.seqs == 0);  // the first sequence's token is not known yet
  scheduler->complete(a);
  scheduler->schedule(c);
  CHECK(c.lane == a.lane);
  CHECK(c.decode.seqs == 1);
  CHECK(scheduler->running() == 3);  // of three slots: the fourth waits
  CHECK(scheduler->waiting() == 1);
}

TEST_CASE("is who was preempted in flight left alone until its batch returns?") {
  // Two sequences fill the blocks; the second, in flight in the other lane, makes room for the first.
  const auto scheduler = make_scheduler(lanes(2, 4, 64), {1 + 8, 16, false}, {});
  const char* refusal = nullptr;
  scheduler->add(request(0, 64, 40), Ps(0), &refusal);
  scheduler->add(request(1, 64, 40), Ps(0), &refusal);
  BatchPlan a, b, c, d;
  scheduler->schedule(a);
  scheduler->schedule(b);
  scheduler->complete(a);
  scheduler->schedule(c);
  REQUIRE(c.preempted.size() == 1);
  const SeqIndex victim = c.preempted.front();
  CHECK(scheduler->sequence(victim).request.id == 1);
  CHECK(scheduler->sequence(victim).generated == 1);  // with b, which is in flight
  scheduler->complete(b);
  CHECK(scheduler->sequence(victim).state == Sequence::State::waiting);
  scheduler->schedule(d);  // now it may come back, but there is no room
  CHECK(d.empty());
  scheduler->complete(c);
}
