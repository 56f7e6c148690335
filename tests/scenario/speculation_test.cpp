// Speculation as users ask for it, and against published measurements.
#include "scenario/speculation.hpp"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/accuracy_speculation.hpp"
#include "scenario/run_scenario.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

Scenario scenario(const std::string& speculative_config) {
  Scenario s;
  s.model = "llama-3.1-8b";
  s.gpu = "h100-sxm";
  s.speculative_config = speculative_config;
  s.workload.num_prompts = 8;
  s.workload.random_input_len = 200, s.workload.random_output_len = 101;
  s.workload.max_concurrency = 1;
  s.workload.request_rate = std::numeric_limits<double>::infinity();
  return s;
}

double tpot_ms(const std::string& speculative_config) {
  return run_scenario(scenario(speculative_config)).summary[Metric::tpot].mean;
}

}  // namespace

TEST_CASE("is vLLM's speculative_config read, its spellings of methods and orrery's acceptance included?") {
  const auto read = [](const char* json) { return parse_speculative_config(json).decoder; };
  const auto ngram = read(R"({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3})");
  CHECK(ngram.method == DraftMethod::ngram);
  CHECK(ngram.num_speculative_tokens == 4);
  CHECK(read(R"({"model": "qwen2.5-0.5b", "num_speculative_tokens": 2})").method == DraftMethod::draft_model);
  CHECK(read(R"({"method": "deepseek_mtp"})").method == DraftMethod::mtp);
  CHECK(read(R"({"method": "mtp"})").num_speculative_tokens == 1);
  const auto eagle =
      read(R"({"method":"eagle3","num_speculative_tokens":3,"acceptance":[0.8,0.6,0.4],"sampled":true})");
  CHECK(eagle.acceptance == std::vector{0.8, 0.6, 0.4});
  CHECK(eagle.sampled);
  CHECK(read(R"({"method":"eagle","num_speculative_tokens":3,"acceptance":0.75})").acceptance ==
        std::vector{0.75});
}

TEST_CASE("does a speculative_config that cannot be meant name the field and what is valid?") {
  const auto refused = [](const char* json, const char* words) {
    CHECK_THROWS_WITH(parse_speculative_config(json), Catch::Contains(words));
  };
  refused(R"({"num_speculative_tokens": 4})", "method");
  refused(R"({"method": "medusa", "num_speculative_tokens": 4})", "medusa");
  refused(R"({"method": "ngram"})", "num_speculative_tokens");
  refused(R"({"method": "ngram", "num_speculative_tokens": 4, "acceptence": 0.5})", "acceptence");
  refused(R"({"method": "ngram", "num_speculative_tokens": 4, "acceptance": 1.5})", "acceptance");
  refused(R"({"method": "ngram", "num_speculative_tokens": 2, "acceptance": [0.5, 0.6]})", "rises");
  refused(R"({"method": "ngram", "num_speculative_tokens": 99})", "99");
  CHECK_THROWS_WITH(deploy(scenario(R"({"method": "draft_model", "num_speculative_tokens": 2})")),
                    Catch::Contains("model is missing"));
  CHECK_THROWS_WITH(deploy(scenario(R"({"method": "mtp"})")),
                    Catch::Contains("no multi-token-prediction layers"));
}

TEST_CASE("does DeepSeek-V3's MTP layer draft with one more layer of the model, experts and all?") {
  Scenario s = scenario(R"({"method": "mtp", "num_speculative_tokens": 2, "acceptance": 0.85})");
  s.model = "deepseek-v3", s.gpu = "h200-sxm", s.tensor_parallel_size = 8;
  const auto d = deploy(s);
  REQUIRE(d.speculation.drafting.model.has_value());
  CHECK(d.speculation.drafting.model->layers() == 1);
  CHECK(d.speculation.drafting.passes == 2);
  // DeepSeek-V3's card counts 14 B for the MTP module with the embedding and LM head it shares (2 x 0.93 B),
  // so some 11.6 B beside them, in FP8; the projection of two streams lies whole on each of the eight ranks.
  const double projection = 2.0 * 7168 * 7168;
  CHECK(d.speculation.draft_weight_bytes * 8 - 7 * projection == Approx(11.6e9).epsilon(0.03));
  s.speculative_config = "";
  CHECK(d.kv.block_bytes == Approx(deploy(s).kv.block_bytes * 62 / 61));  // 61 layers, and one more
}

TEST_CASE("is an acceptance that nobody gave said to be assumed, with its source?") {
  const auto assumed = deploy(scenario(R"({"method": "eagle3", "num_speculative_tokens": 3})"));
  CHECK_THAT(assumed.speculation.acceptance_source, Catch::StartsWith("assumed: "));
  CHECK(std::any_of(assumed.warnings.begin(), assumed.warnings.end(),
                    [](const auto& w) { return w.find("acceptance") != std::string::npos; }));
  const auto given =
      deploy(scenario(R"({"method": "eagle3", "num_speculative_tokens": 3, "acceptance": 0.8})"));
  CHECK(given.speculation.acceptance_source == "given");
}

// EAGLE's layer: its weights beside the target's, its keys and values in every block.
TEST_CASE("does a draft take its weights and its KV cache out of the memory for the target's?") {
  const auto plain = deploy(scenario(""));
  const auto eagle =
      deploy(scenario(R"({"method": "eagle", "num_speculative_tokens": 3, "acceptance": 0.8})"));
  // Llama-3.1-8B's layer: 218,112,000 parameters; the projection of two streams of 4096: 33,554,432.
  CHECK(eagle.kv.weight_bytes - plain.kv.weight_bytes ==
        Approx(2 * (218112000.0 + 33554432.0)).epsilon(1e-6));
  CHECK(eagle.kv.block_bytes == Approx(plain.kv.block_bytes * 33 / 32));
  const auto model = deploy(scenario(
      R"({"method": "draft_model", "model": "qwen2.5-0.5b", "num_speculative_tokens": 3, "acceptance": 0.8})"));
  CHECK(model.kv.weight_bytes > plain.kv.weight_bytes + 0.9e9);
  CHECK(model.kv.blocks < plain.kv.blocks);
  // n-grams take neither, and no device time.
  const auto ngram =
      deploy(scenario(R"({"method": "ngram", "num_speculative_tokens": 3, "acceptance": 0.4})"));
  CHECK(ngram.kv.blocks == plain.kv.blocks);
}

TEST_CASE("does one user's time per token fall by tau where verifying is free, and less with a dear draft?") {
  const double plain = tpot_ms("");
  const double ngram = tpot_ms(R"({"method": "ngram", "num_speculative_tokens": 4, "acceptance": 0.8})");
  const double eagle = tpot_ms(R"({"method": "eagle", "num_speculative_tokens": 4, "acceptance": 0.8})");
  const double draft = tpot_ms(
      R"({"method": "draft_model", "model": "llama-3.1-8b", "num_speculative_tokens": 4, "acceptance": 0.8})");
  const double tau = 3.3616;  // (1 - 0.8^5) / 0.2
  CHECK(plain / ngram == Approx(tau).epsilon(0.12));
  CHECK(plain / ngram < tau * 1.02);
  CHECK(plain / eagle < plain / ngram);
  CHECK(plain / eagle > 1.8);
  CHECK(plain / draft < 1);  // a draft as dear as its target
}

TEST_CASE("does a run say what speculation it was, and what drafting took of its time?") {
  const auto r =
      run_scenario(scenario(R"({"method": "eagle", "num_speculative_tokens": 4, "acceptance": 0.8})"));
  const auto json = to_json(r)["orrery"]["speculation"];
  CHECK(json["method"] == "eagle");
  CHECK(json["tokens_per_step"].get<double>() == Approx(3.3616));
  CHECK(json["acceptance_source"] == "given");
  CHECK(json["draft_share"].get<double>() > 0.05);
  CHECK(json["draft_share"].get<double>() < 0.6);
  CHECK_THAT(describe(r.speculation), Catch::Contains("3.362 tokens a step"));
  CHECK(to_json(run_scenario(scenario("")))["orrery"].count("speculation") == 0);
}

// Measured with SPEED-Bench: one chance taken from the first token is near at two drafted tokens, and too
// hopeful at seven.
TEST_CASE("how well does one chance per token predict measured acceptance lengths?") {
  REQUIRE_REFERENCE_DATA(data);
  const auto all = read_acceptance_lengths(data + "/endtoend/spec_acceptance_length_inferencex.csv");
  REQUIRE(all.size() >= 10);
  std::vector<double> at2, at7;
  for (const auto& a : all) {
    REQUIRE(a.measured.size() == 8);
    at2.push_back(a.constant_chance()[1] / a.measured[1] - 1);
    at7.push_back(a.constant_chance()[6] / a.measured[6] - 1);
  }
  const auto largest = [](std::vector<double> v) { return *std::max_element(v.begin(), v.end()); };
  CHECK(largest(at2) < 0.08);
  CHECK(*std::min_element(at2.begin(), at2.end()) > -0.02);
  CHECK(*std::min_element(at7.begin(), at7.end()) > -0.02);
}

TEST_CASE(
    "are Spec-Bench's speed-ups below what tokens a step and kernels allow, and those of chains near it?") {
  REQUIRE_REFERENCE_DATA(data);
  const auto rows = predict_speedups(data + "/endtoend/speculative_decoding.csv");
  REQUIRE(rows.size() == 4);
  for (const auto& r : rows) {
    INFO(r.method << " measured " << r.measured << " kernels " << r.by_kernels << " launches "
                  << r.by_launches);
    CHECK(r.by_kernels > r.measured);
    CHECK(r.by_kernels <= r.tokens_per_step);
    if (r.method == "PLD") CHECK(std::abs(r.by_launches / r.measured - 1) < 0.12);
    if (r.method == "SpS") CHECK(std::abs(r.by_launches / r.measured - 1) < 0.25);
  }
}
