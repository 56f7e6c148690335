// What sets the other schedulers apart from vllm-v1, in hand-derived steps.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "serving/scheduler.hpp"

using namespace orrery;

namespace {

struct Engine {
  std::unique_ptr<Scheduler> scheduler;
  BatchPlan plan;

  Engine(SchedulerConfig config, std::int64_t usable_blocks)
      : scheduler(make_scheduler(config, {usable_blocks + 1, 4, false}, {})) {}
  void add(std::int32_t prompt, std::int32_t output) {
    Request r;
    r.prompt_tokens = prompt, r.output_tokens = output;
    const char* refusal = nullptr;
    scheduler->add(r, Ps(0), &refusal);
    REQUIRE(refusal == nullptr);
  }
  /// Decodes and prefill tokens of the next step.
  std::string step() {
    scheduler->schedule(plan);
    const std::string out = fmt::format("d={} p={}", plan.decode.seqs, plan.prefill_tokens);
    scheduler->complete(plan);
    for (const auto i : plan.finishing) scheduler->release_slot(i);
    return out;
  }
};

SchedulerConfig config(const char* name) {
  SchedulerConfig c;
  c.scheduler = name;
  c.max_num_seqs = 8, c.max_num_batched_tokens = 64, c.max_model_len = 1000, c.async_scheduling = false;
  return c;
}

}  // namespace

TEST_CASE("sglang: does a prompt stop the decodes, and do they resume together?") {
  auto c = config("sglang");
  c.enable_mixed_chunk = false;
  Engine e(c, 1000);
  e.add(30, 10);
  CHECK(e.step() == "d=0 p=30");
  CHECK(e.step() == "d=1 p=0");
  e.add(100, 10);
  CHECK(e.step() == "d=0 p=64");
  CHECK(e.step() == "d=0 p=36");
  CHECK(e.step() == "d=2 p=0");
}

TEST_CASE("sglang: with mixed chunks, do prompts and decodes share a step?") {
  auto c = config("sglang");
  c.enable_mixed_chunk = true;
  Engine e(c, 1000);
  e.add(30, 10);
  CHECK(e.step() == "d=0 p=30");
  e.add(100, 10);
  CHECK(e.step() == "d=1 p=63");
}

TEST_CASE("sglang: is a share of the outputs to come kept free at admission?") {
  // 40 blocks of 4. The first may still write 100 tokens; half of it and of the second's own 100 is 100, and
  // beside the second's 15 blocks only 40 - 5 - 15 = 20 blocks, 80 tokens, are left.
  for (double ratio : {0.0, 0.5}) {
    auto c = config("sglang");
    c.enable_mixed_chunk = false;
    c.new_token_ratio = ratio;
    Engine e(c, 40);
    e.add(20, 100);
    CHECK(e.step() == "d=0 p=20");
    e.add(60, 100);
    CHECK(e.step() == (ratio > 0 ? "d=1 p=0" : "d=0 p=60"));
  }
}

TEST_CASE(
    "trtllm: is a request held back until it fits with its whole output, so that nobody is preempted?") {
  Engine e(config("trtllm"), 20);
  e.add(20, 41);  // 15 blocks at its end
  e.add(20, 21);  // 10
  e.add(4, 5);    // 2: would fit, but the queue is first come, first served
  CHECK(e.step() == "d=0 p=20");
  for (int i = 0; i < 40; ++i) CHECK(e.step() == "d=1 p=0");
  CHECK(e.step() == "d=0 p=24");
  CHECK(e.plan.preempted.empty());
}

TEST_CASE("static: does nobody join a batch until its longest answer is complete?") {
  Engine e(config("static"), 1000);
  e.add(20, 3);
  e.add(10, 5);
  CHECK(e.step() == "d=0 p=30");
  e.add(8, 2);
  CHECK(e.step() == "d=2 p=0");
  CHECK(e.step() == "d=2 p=0");  // the first one's third token
  CHECK(e.step() == "d=1 p=0");
  CHECK(e.step() == "d=1 p=0");
  CHECK(e.step() == "d=0 p=8");
  CHECK(e.step() == "d=1 p=0");
  CHECK(e.step() == "d=0 p=0");
}

TEST_CASE("static: do prompts beyond one step's budget take several before anybody decodes?") {
  Engine e(config("static"), 1000);
  e.add(40, 3);
  e.add(40, 3);
  CHECK(e.step() == "d=0 p=64");
  e.add(4, 3);  // came after the batch was formed
  CHECK(e.step() == "d=0 p=16");
  CHECK(e.step() == "d=2 p=0");
}

TEST_CASE("orca: do requests join and leave between iterations, as many as their longest sequences fit?") {
  auto c = config("orca");
  c.max_model_len = 40;  // 10 of the 20 blocks
  Engine e(c, 20);
  e.add(20, 3);
  e.add(10, 5);
  e.add(8, 2);  // would need 2 blocks
  CHECK(e.step() == "d=0 p=30");
  CHECK(e.step() == "d=2 p=0");
  CHECK(e.step() == "d=2 p=0");
  CHECK(e.step() == "d=1 p=8");
  CHECK(e.step() == "d=2 p=0");
  CHECK(e.step() == "d=0 p=0");
}

TEST_CASE("orca: are prompts computed whole?") {
  Engine e(config("orca"), 1000);
  e.add(60, 10);
  e.add(10, 10);
  CHECK(e.step() == "d=0 p=60");
  CHECK(e.step() == "d=1 p=10");
}

TEST_CASE("does a scheduler that reserves the longest sequence refuse a cache that has no room for one?") {
  for (const char* name : {"static", "orca"}) {
    auto c = config(name);
    c.max_model_len = 84;
    CHECK_NOTHROW(Engine(c, 21));
    CHECK_THROWS_WITH(Engine(c, 20), Catch::Contains("reserves 21 KV blocks"));
  }
}

TEST_CASE("vllm-v0: do whole prompts come in steps of their own, decoding waiting for them?") {
  auto c = config("vllm-v0");
  c.max_model_len = 64;
  Engine e(c, 1000);
  e.add(30, 10);
  CHECK(e.step() == "d=0 p=30");
  CHECK(e.step() == "d=1 p=0");
  e.add(50, 5);
  e.add(20, 5);  // would be cut
  CHECK(e.step() == "d=0 p=50");
  CHECK(e.step() == "d=0 p=20");
  CHECK(e.step() == "d=3 p=0");
}

TEST_CASE("vllm-v0: does a hundredth of the blocks stay free at admission?") {
  // 200 blocks of 4: beside the first prompt's 100, 98 leave the watermark's 2 and 99 do not.
  for (const std::int32_t prompt : {392, 396}) {
    Engine e(config("vllm-v0"), 200);
    e.add(400, 2);
    e.add(prompt, 2);
    CHECK(e.step() == (prompt == 392 ? "d=0 p=792" : "d=0 p=400"));
  }
}

TEST_CASE("fastgen: is every step filled to the same number of tokens while prompts last?") {
  auto c = config("fastgen");
  c.max_num_batched_tokens = 16;
  Engine e(c, 1000);
  e.add(10, 5);
  e.add(20, 5);
  e.add(3, 5);
  CHECK(e.step() == "d=0 p=16");
  CHECK(e.step() == "d=1 p=15");
  CHECK(e.step() == "d=2 p=2");
  CHECK(e.step() == "d=3 p=0");
}
