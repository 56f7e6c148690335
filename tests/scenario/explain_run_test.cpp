#include "scenario/explain_run.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"

using namespace orrery;

namespace {

Scenario scenario(const Assignments& more = {}) {
  Assignments all;
  const auto set = [&](const char* name, const char* value) { all.push_back({name, value, "test", "", 0}); };
  set("model", "llama-3.1-8b"), set("gpu", "h100-sxm"), set("num_prompts", "600");
  set("request_rate", "14"), set("random_input_len", "1500"), set("random_output_len", "150"),
      set("max_model_len", "4096");
  all.insert(all.end(), more.begin(), more.end());
  return resolve(all);
}

Assignment with(const char* name, const char* value) {
  return {name, value, "test", "", 0};
}

double sum(const TimeParts& p) {
  return p.front_end + p.slot_wait + p.memory_wait + p.turn_wait + p.prefill + p.prefill_shared +
         p.prefill_paused + p.decode + p.decode_interfered + p.decode_paused;
}

}  // namespace

TEST_CASE("do the parts of a latency sum to it, on several replicas and with preemptions too?") {
  const Scenario s = GENERATE(scenario(), scenario({with("replicas", "3"), with("request_rate", "40")}),
                              scenario({with("num_gpu_blocks_override", "900"), with("request_rate", "30")}),
                              scenario({with("max_num_batched_tokens", "512")}));
  const RunExplanation first = explain_run(s, parse_metric_question("ttft@mean"));
  CHECK(first.band == first.requests);
  CHECK(sum(first.parts) == Approx(first.value).epsilon(1e-6));
  const RunExplanation whole = explain_run(s, parse_metric_question("e2e@mean"));
  CHECK(sum(whole.parts) == Approx(whole.value).epsilon(1e-6));
  const RunExplanation tail = explain_run(s, parse_metric_question("ttft@p90"));
  CHECK(tail.band >= 10);
  CHECK(tail.band < 20);
  CHECK(sum(tail.parts) == Approx(tail.value).epsilon(0.15));
}

TEST_CASE("is a wait put down to what is short?") {
  const auto parts = [](const Assignments& more) {
    return explain_run(scenario(more), parse_metric_question("ttft@mean")).parts;
  };
  const TimeParts slots = parts({with("max_num_seqs", "8")});
  CHECK(slots.slot_wait > 0.9 * sum(slots));
  const TimeParts memory = parts({with("num_gpu_blocks_override", "900")});
  CHECK(memory.slot_wait == 0);
  CHECK(memory.memory_wait > memory.turn_wait);
  CHECK(memory.memory_wait > 0.5 * sum(memory));
  const TimeParts neither = parts({with("request_rate", "4")});
  CHECK(neither.slot_wait == 0);
  CHECK(neither.memory_wait == 0);
  const TimeParts chunked =
      parts({with("max_num_batched_tokens", "256"), with("max_num_seqs", "64"), with("request_rate", "2")});
  CHECK(chunked.prefill > neither.prefill);
}

TEST_CASE("is what would change it what a run with that change says, best first?") {
  const MetricQuestion question = parse_metric_question("ttft@p99");
  const RunExplanation e = explain_run(scenario({with("max_num_seqs", "16")}), question);
  REQUIRE(e.what_ifs.size() >= 5);
  double last = 0;
  for (const WhatIf& w : e.what_ifs) {
    if (!w.refused.empty()) continue;
    CHECK(w.value >= last);
    last = w.value;
    if (w.change == "max_num_seqs 16 -> 32") {
      const Summary own = run_scenario(scenario({with("max_num_seqs", "32")})).summary;
      CHECK(w.value == own[Metric::ttft].at(99));
    }
  }
  CHECK(e.what_ifs.front().value < e.value);
}

TEST_CASE("is a question about something else than a latency refused?") {
  CHECK(parse_metric_question("tpot@p99").text == "TPOT p99");
  CHECK(parse_metric_question("e2e@mean").text == "E2E mean");
  CHECK_THROWS_AS(parse_metric_question("attainment"), ConfigError);
  CHECK_THROWS_AS(parse_metric_question("ttfx@p99"), ConfigError);
}
