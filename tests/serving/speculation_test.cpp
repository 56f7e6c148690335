// What verifying drafts takes of a step's budget and of the KV cache.
#include <algorithm>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "serving/scheduler.hpp"

using namespace orrery;

namespace {

SchedulerConfig config(int gamma, double alpha, bool sampled, DraftMethod method = DraftMethod::eagle) {
  DecoderParams p;
  p.method = method;
  p.num_speculative_tokens = gamma;
  p.acceptance = {alpha};
  p.sampled = sampled;
  SchedulerConfig c;
  c.max_num_seqs = 32;
  c.max_num_batched_tokens = 512;
  c.decoder = Decoder(p);
  return c;
}

Request request(RequestId id, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

}  // namespace

TEST_CASE("does a step hold to its budget of tokens, drafts to verify included, and give every block back?") {
  const bool sampled = GENERATE(false, true);
  const bool caching = GENERATE(false, true);
  for (const std::int64_t blocks : {200, 3000}) {
    const auto c = config(4, 0.7, sampled);
    KvConfig kv{blocks, 16, caching};
    kv.groups = {{{}, false, 1, 16}, {64, false, 1, 16}, {{48, true}, false, 1, 16}};
    const auto scheduler = make_scheduler(c, kv, {64, {48, true}});
    Rng rng(4, "requests");
    BatchPlan plan;
    int added = 0, finished = 0, preempted = 0;
    while (finished < 150) {
      if (added < 150 && rng.uniform() < 0.8) {
        const char* refusal = nullptr;
        const auto r = request(added++, static_cast<std::int32_t>(rng.uniform_int(1, 200)),
                               static_cast<std::int32_t>(rng.uniform_int(1, 700)));
        REQUIRE(scheduler->add(r, Ps(0), &refusal) != kNoSeq);
      }
      scheduler->schedule(plan);
      preempted += static_cast<int>(plan.preempted.size());
      REQUIRE(plan.decode.seqs * 5 + plan.prefill_tokens <= c.max_num_batched_tokens);
      REQUIRE(plan.decode_tokens >= plan.decode.seqs);
      REQUIRE(plan.decode_tokens <= 5 * plan.decode.seqs);
      scheduler->complete(plan);
      for (const SeqIndex i : plan.finishing) scheduler->release_slot(i), ++finished;
    }
    CHECK(scheduler->kv().free_blocks() == scheduler->kv().total_blocks());
    if (blocks == 200) CHECK(preempted > 0);
  }
}

// vLLM v1 (kv_cache_manager.py, allocate_slots): a running sequence has slots for its tokens, the one it
// computes, those to verify, and as many again where a draft writes ahead.
TEST_CASE("does a decoding sequence hold the slots that its drafts may write, as vLLM allots them?") {
  for (const auto method : {DraftMethod::ngram, DraftMethod::eagle}) {
    for (const bool sampled : {false, true}) {
      const Tokens gamma = 5, ahead = method == DraftMethod::ngram ? gamma : 2 * gamma;
      const auto scheduler = make_scheduler(config(5, 0.8, sampled, method), {1000, 1, false}, {});
      const char* refusal = nullptr;
      const SeqIndex i = scheduler->add(request(0, 100, 300), Ps(0), &refusal);
      BatchPlan plan;
      scheduler->schedule(plan);
      scheduler->complete(plan);
      for (Tokens stored = 100; stored < 350;) {
        scheduler->schedule(plan);
        const Tokens needed = stored + 1 + ahead,
                     held = scheduler->kv().used_blocks();  // blocks of one token
        REQUIRE(held >= needed);
        REQUIRE(held <= needed + (sampled ? gamma : 1));
        stored += plan.decode_tokens;
        scheduler->complete(plan);
      }
      CHECK(scheduler->sequence(i).state == Sequence::State::decoding);
    }
  }
}

TEST_CASE("is a budget that cannot hold every sequence's drafts refused?") {
  auto c = config(31, 0.5, false);
  c.max_num_seqs = 17;
  CHECK_THROWS_WITH(make_scheduler(c, {1000, 16, false}, {}), Catch::Contains("32 tokens to verify"));
  c.max_num_seqs = 16;
  CHECK_NOTHROW(make_scheduler(c, {1000, 16, false}, {}));
}
