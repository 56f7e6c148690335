#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/engine_args.hpp"
#include "scenario/scenario.hpp"
#include "scenario/settings.hpp"

using namespace orrery;

namespace {
std::map<std::string, std::string> values(const EngineCommand& c) {
  std::map<std::string, std::string> out;
  for (const auto& a : c.assignments) out[a.name] = a.value;
  return out;
}
}  // namespace

TEST_CASE("is a pasted vllm serve command understood, line ends and quotes included?") {
  const auto command = parse_engine_command(
      "VLLM_USE_V1=1 vllm serve meta-llama/Llama-3.1-8B-Instruct \\\n  -tp 2 --max-num-seqs=64 "
      "--max_model_len 8K \\\n"
      "  --no-enable-prefix-caching --async-scheduling --port 8000 --served-model-name 'my model' \\\n"
      "  --speculative-config '{\"method\": \"ngram\", \"num_speculative_tokens\": 4}' --kv-transfer-config "
      "x "
      "--kv-cache-dtype fp8");
  const auto v = values(command);
  CHECK(v.at("model") == "meta-llama/Llama-3.1-8B-Instruct");
  CHECK(v.at("engine") == "vllm");
  CHECK(v.at("tensor_parallel_size") == "2");
  CHECK(v.at("max_num_seqs") == "64");
  CHECK(v.at("max_model_len") == "8K");
  CHECK(v.at("enable_prefix_caching") == "false");
  CHECK(v.at("async_scheduling") == "true");
  CHECK(v.at("kv_cache_dtype") == "fp8");
  CHECK(v.at("speculative_config") == "{\"method\": \"ngram\", \"num_speculative_tokens\": 4}");
  CHECK(v.size() == 9);
  CHECK(command.no_effect == std::vector<std::string>{"--port 8000", "--served-model-name my model"});
  REQUIRE(command.warnings.size() == 2);
  CHECK_THAT(command.warnings[0], Catch::Contains("VLLM_USE_V1=1"));
  CHECK_THAT(command.warnings[1], Catch::Contains("kv-transfer-config") && Catch::Contains("not modelled"));
}

TEST_CASE("are other engines' arguments mapped onto vLLM's names?") {
  const auto sglang = values(parse_engine_command(
      "python3 -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp 4 --mem-fraction-static 0.85 "
      "--disable-radix-cache --chunked-prefill-size 8192 --max-running-requests 128"));
  CHECK(sglang.at("engine") == "sglang");
  CHECK(sglang.at("tensor_parallel_size") == "4");
  CHECK(sglang.at("gpu_memory_utilization") == "0.85");
  CHECK(sglang.at("enable_prefix_caching") == "false");
  CHECK(sglang.at("max_num_batched_tokens") == "8192");
  CHECK(sglang.at("max_num_seqs") == "128");
  const auto trtllm = values(parse_engine_command("trtllm-serve serve M --tp_size 2 --max_batch_size 512"));
  CHECK(trtllm.at("engine") == "trtllm");
  CHECK(trtllm.at("max_num_seqs") == "512");
}

TEST_CASE("may the arguments stand alone?") {
  const auto v = values(parse_engine_command("--max-num-seqs 64 --enforce-eager"));
  CHECK(v.at("max_num_seqs") == "64");
  CHECK(v.at("enforce_eager") == "true");
  CHECK(v.count("engine") == 0);
  CHECK(values(parse_engine_command("--max-running-requests 9", "sglang@0.5")).at("max_num_seqs") == "9");
}

TEST_CASE("is a misspelt engine argument refused, and an unfamiliar one warned of?") {
  CHECK_THROWS_WITH(parse_engine_command("vllm serve M --max-num-batch-tokens 8"),
                    Catch::Contains("--max-num-batched-tokens"));
  CHECK_THROWS_WITH(parse_engine_command("vllm serve M --max-num-seqs"), Catch::Contains("needs a value"));
  CHECK_THROWS_WITH(parse_engine_command("vllm serve 'M"), Catch::Contains("not closed"));
  CHECK_THROWS_WITH(parse_engine_command("llama-server -m x"), Catch::Contains("llama-server"));
  const auto odd = parse_engine_command("vllm serve M --quux-frobnication 7 --max-num-seqs 8");
  REQUIRE(odd.warnings.size() == 1);
  CHECK_THAT(odd.warnings[0], Catch::Contains("--quux-frobnication"));
  CHECK(values(odd).at("max_num_seqs") == "8");
}

TEST_CASE("does every modelled engine argument set a setting that exists?") {
  for (const auto& a : engine_args()) {
    INFO(a.name);
    CHECK((a.cls == ArgClass::modelled) == !a.setting.empty());
    if (a.cls == ArgClass::modelled) CHECK(find_setting(a.setting) != nullptr);
  }
}
