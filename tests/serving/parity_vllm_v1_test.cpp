// Parity of the vllm-v1 profile: small scenarios with every step's batch written out, derived by hand from
// vLLM's rules (running first, then waiting, one token budget). A step reads
//   d=<decodes> <request>:<new>@<past>[!]...   with ! where the chunk ends its prompt,   -<request> for a
//   preemption
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "serving/scheduler.hpp"

using namespace orrery;

namespace {
struct Engine {
  std::unique_ptr<Scheduler> scheduler;
  BatchPlan plan;
  RequestId next_id = 0;

  Engine(SchedulerConfig config, std::int64_t usable_blocks, int block_size = 16, bool caching = false)
      : scheduler(make_scheduler(config, {usable_blocks + 1, block_size, caching}, {})) {}

  const char* add(std::int32_t prompt, std::int32_t output, std::int32_t priority = 0,
                  std::shared_ptr<const PrefixKeys> prefix = nullptr) {
    Request r;
    r.id = next_id++;
    r.prompt_tokens = prompt, r.output_tokens = output, r.priority = priority, r.prefix = std::move(prefix);
    r.arrival = Ps(r.id);
    const char* refusal = nullptr;
    scheduler->add(r, Ps(0), &refusal);
    return refusal;
  }
  /// One synchronous step.
  std::string step() {
    scheduler->schedule(plan);
    std::string out = fmt::format("d={}", plan.decode.seqs);
    for (const auto& c : plan.chunks) {
      out += fmt::format(" {}:{}@{}{}", scheduler->sequence(c.seq).request.id, c.tokens.new_tokens,
                         c.tokens.past, c.last ? "!" : "");
    }
    for (const auto i : plan.preempted) out += fmt::format(" -{}", scheduler->sequence(i).request.id);
    scheduler->complete(plan);
    for (const auto i : plan.finishing) scheduler->release_slot(i);
    return out;
  }
};

SchedulerConfig config(std::int64_t seqs, Tokens budget) {
  SchedulerConfig c;
  c.max_num_seqs = seqs, c.max_num_batched_tokens = budget, c.max_model_len = 4096,
  c.async_scheduling = false;
  return c;
}
}  // namespace

TEST_CASE("parity: is a long prompt cut to what the budget leaves beside the decodes?") {
  Engine e(config(8, 100), 1000);
  e.add(30, 3);
  e.add(150, 2);
  CHECK(e.step() == "d=0 0:30@0! 1:70@0");  // 100 tokens: all of 0, the rest to 1
  CHECK(e.step() == "d=1 1:80@70!");        // 0 takes one token, 1 its last 80 of 99
  CHECK(e.step() == "d=2");                 // 0 has its third token, 1 its second: both end
  CHECK(e.step() == "d=0");
}

TEST_CASE("parity: does a prompt that ends leave its budget to the next in line in the same step?") {
  Engine e(config(8, 64), 1000);
  e.add(100, 2);
  e.add(10, 2);
  e.add(50, 2);
  CHECK(e.step() == "d=0 0:64@0");
  CHECK(e.step() == "d=0 0:36@64! 1:10@0! 2:18@0");
  CHECK(e.step() == "d=2 2:32@18!");
  CHECK(e.step() == "d=1");
}

TEST_CASE("parity: does max_num_seqs hold back admission until one ends?") {
  Engine e(config(2, 512), 1000);
  for (int i = 0; i < 3; ++i) e.add(20, 2 + i);
  CHECK(e.step() == "d=0 0:20@0! 1:20@0!");
  CHECK(e.step() == "d=2");          // 0 ends with its second token
  CHECK(e.step() == "d=1 2:20@0!");  // 1 ends with its third
  CHECK(e.step() == "d=1");
}

TEST_CASE(
    "parity: with chunked prefill off, does a prompt that does not fit the step wait, and block those "
    "behind?") {
  auto c = config(8, 100);
  c.enable_chunked_prefill = false;
  Engine e(c, 1000);
  e.add(80, 2);
  e.add(60, 2);
  e.add(10, 2);
  CHECK(e.step() == "d=0 0:80@0!");
  CHECK(e.step() == "d=1 1:60@0! 2:10@0!");
}

TEST_CASE("parity: does long_prefill_token_threshold cap each prompt's chunk?") {
  auto c = config(8, 100);
  c.long_prefill_token_threshold = 40;
  Engine e(c, 1000);
  e.add(90, 2);
  e.add(90, 2);
  e.add(90, 2);
  CHECK(e.step() == "d=0 0:40@0 1:40@0 2:20@0");
  CHECK(e.step() == "d=0 0:40@40 1:40@40 2:20@20");
  CHECK(e.step() == "d=0 0:10@80! 1:10@80! 2:40@40");
}

TEST_CASE(
    "parity: when blocks run out, is the last admitted preempted, and does it return with its tokens "
    "recomputed?") {
  // 4 blocks of 4 tokens. 0 and 1 have prompts of 7 (2 blocks each). First decode fills both second blocks (8
  // tokens); the next needs a third block for each, and there are none: 1 goes, its 2 blocks serve 0.
  Engine e(config(8, 64), 4, 4);
  e.add(7, 6);
  e.add(7, 6);
  CHECK(e.step() == "d=0 0:7@0! 1:7@0!");
  CHECK(e.step() == "d=2");
  CHECK(e.step() == "d=1 -1");  // nobody is admitted in a step that preempted
  CHECK(e.step() == "d=1");     // 1 needs ceil(9/4) = 3 blocks for its 7 + 2 tokens; 1 is free
  CHECK(e.step() == "d=1");
  CHECK(e.step() == "d=1");  // 0 has its sixth token: one from the prompt's step and five decodes
  CHECK(e.step() == "d=0 1:9@0!");
  CHECK(e.step() == "d=1");
}

TEST_CASE("parity: does a preempted request go before those that wait, and keep its generated tokens?") {
  Engine e(config(8, 64), 4, 4);
  e.add(7, 5);
  e.add(7, 6);
  e.add(3, 2);
  CHECK(e.step() == "d=0 0:7@0! 1:7@0!");  // 2 must wait: no block is free
  CHECK(e.step() == "d=2");
  CHECK(e.step() == "d=1 -1");
  CHECK(e.step() == "d=1");
  CHECK(e.step() == "d=1");                // 0 gets its fifth and last token
  CHECK(e.step() == "d=0 1:9@0! 2:3@0!");  // 3 blocks and 1
}

TEST_CASE("parity: does reserve_full_isl ask for the whole prompt's blocks before the first chunk?") {
  auto c = config(8, 16);
  for (bool reserve : {true, false}) {
    c.reserve_full_isl = reserve;
    Engine e(c, 10, 4);
    e.add(16, 20);  // 4 blocks now, 9 at its end
    e.add(28, 2);   // 7 blocks; 6 are free
    CHECK(e.step() == "d=0 0:16@0!");
    CHECK(e.step() == (reserve ? "d=1" : "d=1 1:15@0"));
  }
}

TEST_CASE("parity: under the priority policy, does the lower number go first and the largest fall first?") {
  auto c = config(8, 64);
  c.queue.policy = "priority";
  Engine e(c, 4, 4);
  e.add(7, 6, 5);
  e.add(7, 6, 1);
  e.add(2, 2, 9);
  CHECK(e.step() == "d=0 1:7@0! 0:7@0!");
  CHECK(e.step() == "d=2");
  CHECK(e.step() == "d=1 -0");
}

TEST_CASE("parity: are the shared blocks of a prompt in flight hit by the next in the same step?") {
  Engine e(config(8, 4096), 1000, 16, true);
  const auto prefix = std::make_shared<PrefixKeys>(PrefixKeys{{1, 2}, 32});
  e.add(64, 2, 0, prefix);
  e.add(64, 2, 0, prefix);
  CHECK(e.step() == "d=0 0:64@0! 1:16@48!");  // 3 of 4 full blocks: the last token must be computed
}

TEST_CASE("are requests that can never run refused with the reason?") {
  Engine e(config(8, 64), 10, 4);
  CHECK(std::string(e.add(4096, 1)) == "prompt is at or beyond max_model_len");
  CHECK(std::string(e.add(30, 12)) == "needs more KV blocks than the cache has");  // 41 tokens, 40 fit
  CHECK(e.add(30, 11) == nullptr);
  CHECK(std::string(e.add(0, 1)) == "no prompt or no output tokens requested");
}

TEST_CASE("does extending a plan equal scheduling each step?") {
  for (int blocks : {60, 400}) {
    Engine slow(config(8, 64), blocks, 4), fast(config(8, 64), blocks, 4);
    for (auto* e : {&slow, &fast}) {
      for (int i = 0; i < 6; ++i) e->add(10 + 7 * i, 20 + 5 * i);
    }
    std::vector<std::string> a, b;
    for (int i = 0; i < 300; ++i) a.push_back(slow.step());
    while (b.size() < 300) {
      fast.scheduler->schedule(fast.plan);
      std::string text = fmt::format("d={}", fast.plan.decode.seqs);
      for (const auto& c : fast.plan.chunks) {
        text += fmt::format(" {}:{}@{}{}", fast.scheduler->sequence(c.seq).request.id, c.tokens.new_tokens,
                            c.tokens.past, c.last ? "!" : "");
      }
      for (const auto i : fast.plan.preempted)
        text += fmt::format(" -{}", fast.scheduler->sequence(i).request.id);
      const std::int64_t more = fast.scheduler->extendable(fast.plan);
      fast.scheduler->extend(fast.plan, more);
      b.push_back(text);
      for (std::int64_t k = 0; k < more; ++k) b.push_back(fmt::format("d={}", fast.plan.decode.seqs));
      fast.scheduler->complete(fast.plan);
      for (const auto i : fast.plan.finishing) fast.scheduler->release_slot(i);
      if (fast.plan.empty()) break;
    }
    b.resize(300, "d=0");
    CHECK(a == b);
  }
}
