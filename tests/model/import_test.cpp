#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/config_import.hpp"

using namespace orrery;

namespace {
/// A small Llama as its config.json says it; tests change one field at a time.
Json llama() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 2816,
    "vocab_size": 32000, "max_position_embeddings": 8192, "torch_dtype": "bfloat16"})");
}
Json with(Json config, const Json& changes) {
  config.update(changes);
  return config;
}
Json family(const char* type, const char* architecture, const Json& changes = Json::object()) {
  return with(with(llama(), {{"model_type", type}, {"architectures", {architecture}}}), changes);
}
ModelSpec import(const Json& config) {
  return import_config(JsonDocument::parse(config.dump(1), "config.json"), "test");
}

std::string refusal(const Json& config) {
  try {
    import(config);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "accepted";
}
AttentionParams first_attention(const ModelSpec& model) {
  return *attention_of(model.kinds.at(0));
}
std::vector<Tokens> layer_windows(const ModelSpec& model) {
  std::vector<Tokens> windows;
  for (const int kind : model.pattern)
    windows.push_back(attention_of(model.kinds[static_cast<std::size_t>(kind)])->pattern.window);
  return windows;
}
}  // namespace

TEST_CASE("is a field that may change the cost refused by name, and a harmless one not?") {
  using Catch::Contains;
  CHECK_THAT(refusal(with(llama(), {{"num_experts", 8}})), Contains("num_experts"));
  CHECK_THAT(refusal(with(llama(), {{"sliding_window", 4096}})), Contains("sliding_window"));
  CHECK_THAT(refusal(with(llama(), {{"block_configs", Json::array()}})), Contains("block_configs"));
  CHECK_THAT(refusal(with(llama(), {{"is_encoder_decoder", true}})), Contains("is_encoder_decoder"));
  CHECK(refusal(with(llama(), {{"sliding_window", nullptr}})) == "accepted");
  CHECK(refusal(with(llama(), {{"rope_theta", 5e5}, {"bos_token_id", 1}, {"attention_dropout", 0.0}})) ==
        "accepted");
}

TEST_CASE("is an architecture without a family refused by name, with those that have one?") {
  try {
    import(family("gpt_neox", "GPTNeoXForCausalLM"));
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(std::string(e.what()) ==
          "architecture 'GPTNeoXForCausalLM' (model_type 'gpt_neox') is not supported yet");
    CHECK_THAT(e.hint(),
               Catch::StartsWith("supported families (model_type): ") && Catch::Contains("mixtral"));
    CHECK(e.line() > 0);
  }
  CHECK_THAT(refusal(family("llama", "LlamaForSequenceClassification")),
             Catch::Contains("SequenceClassification"));
  CHECK_THAT(refusal(Json::object()), Catch::Contains("neither model_type nor architectures"));
}

TEST_CASE("do missing, negative, huge and contradicting sizes say which field is wrong?") {
  auto missing = llama();
  missing.erase("intermediate_size");
  CHECK_THAT(refusal(missing), Catch::Contains("intermediate_size"));
  CHECK_THAT(refusal(with(llama(), {{"hidden_size", -1}})), Catch::Contains("hidden_size: expected 1 to"));
  CHECK_THAT(refusal(with(llama(), {{"num_hidden_layers", 1000000000}})),
             Catch::Contains("num_hidden_layers"));
  CHECK_THAT(refusal(with(llama(), {{"vocab_size", "many"}})), Catch::Contains("vocab_size"));
  CHECK_THAT(refusal(with(llama(), {{"num_key_value_heads", 3}})), Catch::Contains("multiple of 3 KV heads"));
  CHECK_THAT(refusal(with(llama(), {{"num_attention_heads", 24}})),
             Catch::Contains("hidden / heads: expected a whole number"));
  CHECK_THAT(refusal(with(llama(), {{"dtype", "float16"}})), Catch::Contains("contradicts 'torch_dtype'"));
}

TEST_CASE("is an explicit head_dim honoured, and else the quotient taken?") {
  CHECK(first_attention(import(llama())).head_dim == 64);
  CHECK(first_attention(import(with(llama(), {{"head_dim", 128}}))).head_dim == 128);
  CHECK(first_attention(import(family("qwen3", "Qwen3ForCausalLM"))).head_dim == 128);  // the class default
}

TEST_CASE("do class defaults differ by family as in transformers?") {
  auto config = llama();
  config.erase("num_key_value_heads");
  CHECK(first_attention(import(config)).kv_heads == 16);  // as many as heads
  config["model_type"] = "mistral", config["architectures"] = {"MistralForCausalLM"};
  CHECK(first_attention(import(config)).kv_heads == 8);
  CHECK(import(family("gemma2", "Gemma2ForCausalLM")).tied_embeddings);
  CHECK_FALSE(import(llama()).tied_embeddings);
  CHECK(first_attention(import(family("qwen2", "Qwen2ForCausalLM"))).qkv_bias);
  CHECK(first_attention(import(family("qwen3", "Qwen3ForCausalLM"))).qk_norm);
}

TEST_CASE("which layers are windowed?") {
  SECTION("Mistral: all, 4096 unless given, none when null") {
    CHECK(layer_windows(import(family("mistral", "MistralForCausalLM"))) ==
          std::vector<Tokens>{4096, 4096, 4096, 4096});
    CHECK(import(family("mistral", "MistralForCausalLM", {{"sliding_window", nullptr}})).caps().empty());
  }
  SECTION("a window of the whole context is none") {
    const auto model = import(family("mistral", "MistralForCausalLM", {{"sliding_window", 8192}}));
    CHECK(model.caps().empty());
    CHECK(model.notes.size() == 1);
  }
  SECTION("Gemma 2: every other, the first one windowed") {
    const auto model = import(family("gemma2", "Gemma2ForCausalLM", {{"sliding_window", 1024}}));
    CHECK(layer_windows(model) == std::vector<Tokens>{1024, 0, 1024, 0});
    CHECK(model.kinds[0].count == 2);
    CHECK(model.kinds[0].norms.after == 1);
  }
  SECTION("Qwen: only with use_sliding_window, from max_window_layers on") {
    Json fields{{"sliding_window", 1024}, {"max_window_layers", 3}, {"use_sliding_window", false}};
    CHECK(import(family("qwen2", "Qwen2ForCausalLM", fields)).caps().empty());
    fields["use_sliding_window"] = true;
    CHECK(layer_windows(import(family("qwen2", "Qwen2ForCausalLM", fields))) ==
          std::vector<Tokens>{0, 0, 0, 1024});
  }
  SECTION("layer_types overrides the family's pattern") {
    Json fields{{"sliding_window", 512}};
    fields["layer_types"] = {"full_attention", "full_attention", "sliding_attention", "full_attention"};
    CHECK(layer_windows(import(family("gemma2", "Gemma2ForCausalLM", fields))) ==
          std::vector<Tokens>{0, 0, 512, 0});
    fields["layer_types"][1] = "linear_attention";
    CHECK_THAT(refusal(family("gemma2", "Gemma2ForCausalLM", fields)), Catch::Contains("linear_attention"));
    fields["layer_types"] = {"full_attention"};
    CHECK_THAT(refusal(family("gemma2", "Gemma2ForCausalLM", fields)), Catch::Contains("found 1"));
  }
}

TEST_CASE("is a nested text model read, and what changes its cost beside it refused?") {
  Json outer{{"model_type", "wrapper"}, {"architectures", {"WrapperForCausalLM"}}, {"text_config", llama()}};
  CHECK(import(outer).hidden == 1024);
  outer["torch_dtype"] = "bfloat16";  // as the text model says itself
  CHECK(refusal(outer) == "accepted");
  outer["tie_word_embeddings"] = true;  // which it does not: the one around says it for it
  CHECK(import(outer).tied_embeddings);
  outer["torch_dtype"] = "float16";
  CHECK_THAT(refusal(outer), Catch::Contains("'WrapperForCausalLM'") && Catch::Contains("torch_dtype"));
  outer["torch_dtype"] = "bfloat16";
  outer["image_token_index"] = 3;
  outer["vision_config"] = {{"depth", 24}};
  CHECK_THAT(refusal(outer), Catch::Contains("'vision_config' beside its text_config is not understood"));
}

TEST_CASE("how long a context does rope scaling allow?") {
  const auto length = [](const Json& scaling) {
    return import(with(llama(), {{"rope_scaling", scaling}})).max_model_len;
  };
  CHECK(length(nullptr) == 8192);
  CHECK(length({{"rope_type", "llama3"}, {"factor", 8.0}, {"original_max_position_embeddings", 1024}}) ==
        8192);
  CHECK(length({{"type", "linear"}, {"factor", 4.0}}) == 32768);
  CHECK(length({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 4096}}) ==
        16384);
}

TEST_CASE("what formats does a quantised checkpoint give?") {
  const auto native = [](const Json& q) {
    return import(with(llama(), {{"quantization_config", q}})).native;
  };
  const Json float8{{"num_bits", 8}, {"type", "float"}}, int4{{"num_bits", 4}, {"type", "int"}};
  SECTION("fp8") {
    const auto p = native(
        {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}, {"activation_scheme", "dynamic"}});
    CHECK(p.weight == DType::fp8);
    CHECK(p.compute == DType::fp8);
    CHECK(p.activation == DType::bf16);
    CHECK(p.lm_head == DType::bf16);
  }
  SECTION("4-bit weights compute in the activation's format") {
    for (const char* method : {"awq", "gptq"}) {
      const auto p = native({{"quant_method", method}, {"bits", 4}, {"group_size", 128}});
      CHECK(p.weight == DType::int4);
      CHECK(p.compute == DType::bf16);
    }
  }
  SECTION("compressed-tensors") {
    const Json group{{"weights", float8}, {"input_activations", float8}, {"targets", {"Linear"}}};
    const Json w4{{"weights", int4}, {"input_activations", nullptr}, {"targets", {"Linear"}}};
    const Json method{{"quant_method", "compressed-tensors"}, {"ignore", {"lm_head"}}};
    CHECK(native(with(method, {{"config_groups", {{"group_0", group}}}})).compute == DType::fp8);
    const auto p = native(with(method, {{"config_groups", {{"group_0", w4}}}, {"kv_cache_scheme", float8}}));
    CHECK(p.weight == DType::int4);
    CHECK(p.kv_cache == DType::fp8);
    CHECK_THAT(refusal(with(llama(), {{"quantization_config",
                                       with(method, {{"config_groups", {{"a", group}, {"b", w4}}}})}})),
               Catch::Contains("different formats"));
  }
  SECTION("what is not understood is refused by name") {
    const auto refused = [](const Json& q) { return refusal(with(llama(), {{"quantization_config", q}})); };
    CHECK_THAT(refused({{"quant_method", "bitsandbytes"}}), Catch::Contains("'bitsandbytes'"));
    CHECK_THAT(refused({{"quant_method", "gptq"}, {"bits", 4}, {"lm_head", true}}),
               Catch::Contains("LM head"));
    CHECK_THAT(refused({{"quant_method", "awq"}, {"bits", 3}}), Catch::Contains("found 3"));
    CHECK_THAT(refused({{"quant_method", "fp8"}, {"ignored_layers", {"model.layers.0.frobnicator"}}}),
               Catch::Contains("frobnicator"));
    CHECK_THAT(refused({{"quant_method", "fp8"}, {"rotation", {}}, {"transform_config", Json::object()}}),
               Catch::Contains("accepted"));
    CHECK_THAT(refused({{"quant_method", "fp8"}, {"rotation", true}}), Catch::Contains("rotation"));
  }
}

TEST_CASE("does ModelOpt's own file set formats where config.json has none?") {
  const auto quant = JsonDocument::parse(
      R"({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}})",
      "q");
  const auto model = import_config(JsonDocument::parse(llama().dump(), "c"), "test", quant);
  CHECK(model.native.weight == DType::fp8);
  CHECK(model.native.kv_cache == DType::fp8);
}
