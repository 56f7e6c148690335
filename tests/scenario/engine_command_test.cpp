#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/json.hpp"
#include "scenario/engine_args.hpp"
#include "scenario/scenario.hpp"
#include "scenario/settings.hpp"
#include "support/temporary_folder.hpp"

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
    // Some become settings together with others, or by what they hold: tested one by one.
    const bool translated =
        a.setting == "eplb_config" || a.setting == "options_file" || a.setting.starts_with("speculative.");
    if (a.cls == ArgClass::modelled && !translated) CHECK(find_setting(a.setting) != nullptr);
  }
}

TEST_CASE("do SGLang's and TensorRT-LLM's speculation arguments become vLLM's configuration?") {
  const auto config = [](const std::string& arguments) {
    const auto v = values(parse_engine_command(arguments, "sglang"));
    return Json::parse(v.at("speculative_config"));
  };
  const Json eagle = config(
      "--speculative-algorithm EAGLE3 --speculative-draft-model-path E --speculative-num-steps 3 "
      "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4");
  CHECK(eagle == Json{{"method", "eagle3"}, {"model", "E"}, {"num_speculative_tokens", 3}});
  // Without a draft EAGLE runs the checkpoint's own layers, as NEXTN.
  const Json mtp{{"method", "mtp"}, {"num_speculative_tokens", 2}};
  CHECK(config("--speculative-algorithm NEXTN --speculative-num-steps 2") == mtp);
  CHECK(config("--speculative-algorithm EAGLE --speculative-num-steps 2 --speculative-eagle-topk 1") == mtp);
  CHECK(
      config("--speculative-algorithm STANDALONE --speculative-draft-model-path D --speculative-num-steps 5")
          .at("method") == "draft_model");
  CHECK(
      config("--speculative-algorithm NGRAM --speculative-num-draft-tokens 8").at("num_speculative_tokens") ==
      7);
  CHECK_THROWS_WITH(
      config("--speculative-algorithm EAGLE3 --speculative-num-steps 3 --speculative-eagle-topk 4"),
      Catch::Contains("--speculative-eagle-topk 4 drafts a tree"));
  CHECK_THROWS_WITH(config("--speculative-algorithm EAGLE3 --speculative-eagle-topk 1"),
                    Catch::Contains("--speculative-num-steps is missing"));
  CHECK_THROWS_WITH(config("--speculative-algorithm MEDUSA --speculative-num-steps 3"),
                    Catch::Contains("MEDUSA is not modelled"));

  const TemporaryFolder folder("engine_command");
  const std::string file =
      folder.add("options.yaml",
                 "enable_chunked_prefill: true\nspeculative_config:\n  decoding_type: MTP  # three layers\n"
                 "  num_nextn_predict_layers: 3\n");
  const auto trtllm = parse_engine_command("trtllm-serve M --extra_llm_api_options " + file);
  CHECK(Json::parse(values(trtllm).at("speculative_config")) ==
        Json{{"method", "mtp"}, {"num_speculative_tokens", 3}});
  REQUIRE(trtllm.warnings.size() == 1);
  CHECK_THAT(trtllm.warnings[0], Catch::Contains("not enable_chunked_prefill"));
  folder.add("options.yaml", "speculative_config:\n  decoding_type: Medusa\n");
  CHECK_THROWS_WITH(parse_engine_command("trtllm-serve M --config " + file), Catch::Contains("'Medusa'"));
}

TEST_CASE("do the engines' arguments about experts become settings?") {
  const auto vllm = values(parse_engine_command(
      "vllm serve M --enable-expert-parallel --enable-eplb --eplb-config '{\"num_redundant_experts\": 32, "
      "\"window_size\": 1000}' --all2all-backend deepep_low_latency"));
  CHECK(vllm.at("enable_eplb") == "true");
  CHECK(vllm.at("num_redundant_experts") == "32");
  CHECK(vllm.at("all2all_backend") == "deepep_low_latency");
  CHECK(values(parse_engine_command("--eplb-config.num_redundant_experts 8")).at("num_redundant_experts") ==
        "8");
  const auto sglang = values(
      parse_engine_command("--moe-a2a-backend deepep --ep-num-redundant-experts 16 --enable-eplb", "sglang"));
  CHECK(sglang.at("all2all_backend") == "deepep");
  CHECK(sglang.at("num_redundant_experts") == "16");
}
