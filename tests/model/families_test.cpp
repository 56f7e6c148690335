// Families read as data: what their expressions make of a config, and what they refuse.

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/config_import.hpp"

using namespace orrery;

namespace {
Json jamba() {
  return Json::parse(R"({"architectures": ["JambaForCausalLM"], "model_type": "jamba", "hidden_size": 1024,
    "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 2048,
    "vocab_size": 32000, "num_experts": 8, "num_experts_per_tok": 2, "attn_layer_period": 4,
    "attn_layer_offset": 1, "torch_dtype": "bfloat16"})");
}
Json mixtral() {
  return Json::parse(
      R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 1024,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 2048,
    "vocab_size": 32000, "max_position_embeddings": 8192, "num_local_experts": 8, "num_experts_per_tok": 2})");
}
Json nemotron() {
  return Json::parse(R"({"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h",
    "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 2048, "vocab_size": 32000, "max_position_embeddings": 8192, "mamba_num_heads": 32,
    "mamba_head_dim": 64, "ssm_state_size": 128, "hybrid_override_pattern": "M-*-"})");
}
Json with(Json config, const Json& changes) {
  config.update(changes);
  return config;
}
ModelSpec import(const Json& config) {
  return import_config(JsonDocument::parse(config.dump(1), "config.json"), "test");
}
std::string refusal(const Json& config) {
  try {
    import(config);
  } catch (const ConfigError& e) {
    return std::string(e.what()) + " " + e.hint();
  }
  return "accepted";
}
/// A letter per layer: A attention, S state, F none; upper case with experts.
std::string layers(const ModelSpec& model) {
  std::string text;
  for (const int i : model.pattern) {
    const auto& kind = model.kinds[static_cast<std::size_t>(i)];
    char letter = 'F';
    if (!kind.mixers.empty()) letter = std::holds_alternative<StateParams>(kind.mixers[0]) ? 'S' : 'A';
    text += std::holds_alternative<MoeParams>(kind.ffn) ? letter : static_cast<char>(std::tolower(letter));
  }
  return text;
}
}  // namespace

TEST_CASE("do a family's expressions lay out the layers as the config says?") {
  CHECK(layers(import(jamba())) == "sAsSsAsS");  // attention at 1 and 5, experts on every odd layer
  CHECK(layers(import(with(jamba(), {{"expert_layer_period", 4}, {"expert_layer_offset", 3}}))) ==
        "sasSsasS");
  CHECK(layers(import(with(jamba(), {{"num_experts", 1}, {"num_experts_per_tok", 1}}))) == "sasssass");
  CHECK(layers(import(nemotron())) == "sfaf");
}

TEST_CASE("are experts that contradict each other refused by field and value?") {
  using Catch::Contains;
  CHECK_THAT(refusal(with(mixtral(), {{"num_experts_per_tok", 9}})),
             Contains("num_experts_per_tok") && Contains("1 to 8 experts, found 9"));
  CHECK_THAT(refusal(with(mixtral(), {{"num_experts_per_tok", 0}})), Contains("found 0"));
  CHECK_THAT(refusal(with(mixtral(), {{"num_local_experts", 0}})),
             Contains("num_local_experts") && Contains("found 0"));
  CHECK_THAT(refusal(with(mixtral(), {{"num_local_experts", "many"}})), Contains("num_local_experts"));
}

TEST_CASE("is a layer of an unknown kind refused with the kinds there are?") {
  using Catch::Contains;
  CHECK_THAT(refusal(with(nemotron(), {{"hybrid_override_pattern", "M-X-"}})),
             Contains("hybrid_override_pattern") && Contains("M, *, - or E"));
  CHECK_THAT(refusal(with(nemotron(), {{"hybrid_override_pattern", "M-*"}})), Contains("each of 4 layers"));
  const Json types{{"model_type", "qwen3_next"}, {"architectures", {"Qwen3NextForCausalLM"}}};
  Json next = with(mixtral(), types);
  next.erase("num_local_experts");
  next["moe_intermediate_size"] = 512;
  next["num_experts"] = 8;
  next["layer_types"] = {"linear_attention", "full_attention", "linear_attention", "mamba"};
  CHECK_THAT(refusal(next),
             Contains("layer_types") && Contains("mamba") && Contains("full_attention, linear_attention"));
}

TEST_CASE("are heads, groups and windows that cannot be refused by name?") {
  using Catch::Contains;
  CHECK_THAT(refusal(with(jamba(), {{"num_key_value_heads", 3}})),
             Contains("num_key_value_heads") && Contains("multiple of 3 KV heads"));
  CHECK_THAT(refusal(with(nemotron(), {{"n_groups", 5}})), Contains("n_groups") && Contains("5 groups"));
  CHECK_THAT(refusal(with(jamba(), {{"attn_layer_offset", 4}})), Contains("attn_layer_offset"));
}

TEST_CASE("is Infinity where a size must stand a missing size, and harmless elsewhere?") {
  const auto read = [](std::string text) {
    return import_config(JsonDocument::parse(std::move(text), "config.json"), "test");
  };
  std::string text = nemotron().dump(1);
  const auto at = text.find("\"hidden_size\": 1024");
  REQUIRE(at != std::string::npos);
  std::string harmless = text;
  harmless.insert(at, "\"time_step_limit\": [0.0, Infinity],\n ");
  CHECK(read(harmless).hidden == 1024);
  text.replace(at, 19, "\"hidden_size\": Infinity");
  CHECK_THROWS_WITH(read(text), Catch::Contains("hidden_size"));
}

TEST_CASE("does a vision tower need a family that reads it, and its sizes?") {
  const Json text{{"model_type", "qwen3_vl_text"}, {"hidden_size", 1024},
                  {"num_hidden_layers", 4},        {"num_attention_heads", 8},
                  {"num_key_value_heads", 2},      {"intermediate_size", 2048},
                  {"vocab_size", 32000},           {"max_position_embeddings", 8192}};
  const Json vision{{"depth", 2},       {"hidden_size", 256},
                    {"num_heads", 4},   {"intermediate_size", 512},
                    {"patch_size", 16}, {"out_hidden_size", 1024}};
  Json config{{"model_type", "qwen3_vl"},
              {"architectures", {"Qwen3VLForConditionalGeneration"}},
              {"text_config", text},
              {"vision_config", vision}};
  const ModelSpec model = import(config);
  REQUIRE(model.encoder);
  CHECK(model.encoder->layers == 2);
  CHECK(model.encoder->tokens({320, 640}) == 200);  // patches of 16 merged 2 x 2
  Json blind = config;
  blind["vision_config"].erase("depth");
  CHECK_THAT(refusal(blind), Catch::Contains("vision_config"));
  config["model_type"] = "unheard_of";
  CHECK_THAT(refusal(config), Catch::Contains("'vision_config' beside its text_config is not understood"));
}
