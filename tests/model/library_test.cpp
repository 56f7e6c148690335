#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/model_spec.hpp"

using namespace orrery;

TEST_CASE("does every shipped model have as many parameters as its authors publish?") {
  const auto names = list_models();
  REQUIRE(names.size() >= 90);
  int uncounted = 0;
  for (const auto& name : names) {
    const ModelSpec model = load_model(name);
    INFO(name << ": " << model.reference);
    CHECK_FALSE(model.reference.empty());
    CHECK(model.pattern.size() == static_cast<std::size_t>(model.layers()));
    if (model.published_parameters == 0) {
      ++uncounted;  // published as "1.3 B": no exact count to hold it against
      continue;
    }
    CHECK(model.parameters() == Approx(model.published_parameters).epsilon(0.001));
  }
  CHECK(uncounted <= 12);
}

TEST_CASE("does a token multiply as many parameters as published, the input embedding left out?") {
  int checked = 0;
  for (const auto& name : list_models()) {
    const ModelSpec model = load_model(name);
    if (model.published_active == 0) continue;
    INFO(name << ": " << model.reference);
    // Published to three digits ("3.48 B" is 3.475 to 3.485).
    CHECK(model.active_parameters() == Approx(model.published_active).epsilon(0.001).margin(0.0051e9));
    ++checked;
  }
  CHECK(checked >= 19);
}

TEST_CASE("are the counts exact where the checkpoint's own count is known?") {
  // Element counts of the published safetensors files.
  CHECK(load_model("llama-2-7b").parameters() == 6738415616.0);
  CHECK(load_model("llama-3.1-8b").parameters() == 8030261248.0);
  CHECK(load_model("llama-3.1-405b").parameters() == 405853388800.0);
  CHECK(load_model("qwen2.5-7b").parameters() == 7615616512.0);
  CHECK(load_model("mistral-7b-v0.1").parameters() == 7241732096.0);
  CHECK(load_model("gemma-2-9b").parameters() == 9241705984.0);
  // Kimi-K3: shapes of all tensors, four-bit experts unpacked, without the padding of 32 in each A_log.
  const ModelSpec kimi = load_model("kimi-k3");
  CHECK(kimi.encoder->parameters() == 447358976.0);
  CHECK(kimi.parameters() == 2779484476000.0 + 447358976.0);
  LoweringContext stored;
  stored.precision = kimi.native;
  CHECK(kimi.weight_bytes(stored) == Approx(1453.66 * (1 << 30)).epsilon(1e-3));  // of its 96 files
}

TEST_CASE("do models that share blocks and mix their kinds have the parameters their code makes?") {
  // Counted by hand from transformers' modular_zamba2.py; rounded they are the report's 1.2, 2.7 and 7.4 B.
  CHECK(load_model("zamba2-1.2b").parameters() == 1215064704.0);
  CHECK(load_model("zamba2-2.7b").parameters() == 2662214560.0);
  CHECK(load_model("zamba2-7b").parameters() == 7356749648.0);
  // Based, 36 layers of 1792 and 3584: 7 linear, 7 windowed, 22 convolutions (HazyResearch/based).
  const double d = 1792, conv = d * 4 * d + 4 * d + 2 * d * d + d + 2 * d * 4;
  const double linear = 2 * d * 256 + 2 * d * d, window = 4 * d * d;
  const double layers = 36 * (3 * d * 2 * d + 2 * d) + 22 * conv + 7 * linear + 7 * window;
  CHECK(load_model("based-1.3b").parameters() == layers + 50264 * d + d);
  CHECK(load_model("based-1.3b").parameters() == Approx(1.35e9).epsilon(0.01));
}

TEST_CASE("do the newest hybrids keep what was worked out for them?") {
  // 24 latents of 512 + 64 in 16 bits; 69 states of 96 heads of 128 x 128 and the inputs of three
  // convolutions.
  const ModelSpec kimi = load_model("kimi-k3");
  CHECK(kimi.kv_bytes_per_token({}) == 27648);
  const double states = 69.0 * 96 * 128 * 128 * 4, inputs = 69.0 * 3 * 12288 * 3 * 2;
  CHECK(states == Approx(434.1e6).epsilon(1e-3));
  CHECK(kimi.sequence_bytes(1000, {}) == states + inputs + 1000 * 27648.0);
  // Weights are shared among nine uses, keys and values are not: 2 x 32 heads of 160 in 16 bits each.
  CHECK(load_model("zamba2-2.7b").kv_bytes_per_token({}) == 9 * 2 * 5120 * 2);
  // Based: 273 features of 16 (LIN-06) by 112 values and their sum, in fp32; windows of 65 tokens.
  const ModelSpec based = load_model("based-1.3b");
  const double features = 7.0 * 16 * 273 * (112 + 1) * 4, windows = 7.0 * 65 * 2 * 1792 * 2;
  CHECK(based.kv_bytes_per_token({}) == 0);
  CHECK(based.sequence_bytes(2048, {}) == features + windows + 22.0 * 3584 * 2 * 2);
  CHECK(features / (7.0 * 16 * 273 * 112 * 4) == Approx(1).epsilon(0.01));
}

TEST_CASE("is a model found by the names people use for it?") {
  for (const char* name : {"llama-3.1-8b", "Llama_3.1_8B", "meta-llama/Llama-3.1-8B-Instruct",
                           "Llama-3.1-8B-Instruct-FP8", "meta-llama/Meta-Llama-3.1-8B"}) {
    CHECK(load_model(name).name == "llama-3.1-8b");
  }
  CHECK(load_model("meta-llama/Llama-2-7b-chat-hf").name == "llama-2-7b");
  CHECK(load_model("codellama/CodeLlama-34b-Instruct-hf").name == "codellama-34b");
  CHECK(load_model("mistralai/Mistral-7B-Instruct-v0.1").name == "mistral-7b-v0.1");
  CHECK(load_model("mistralai/Mistral-Large-Instruct-2407").name == "mistral-large-2");
  CHECK(load_model("google/gemma-2-9b-it").name == "gemma-2-9b");
  CHECK(load_model("llama2-70b").name == "llama-2-70b");
  CHECK(load_model("microsoft/Phi-3-mini-4k-instruct").name == "phi-3-mini");
  CHECK(load_model("deepseek-ai/DeepSeek-R1").name == "deepseek-v3");
  CHECK(load_model("ai21labs/AI21-Jamba-1.5-Mini").name == "jamba-v0.1");
  CHECK(load_model("mistralai/Mixtral-8x7B-Instruct-v0.1").name == "mixtral-8x7b");
}

TEST_CASE("does a name that ends in -FP8 say that formats are chosen elsewhere?") {
  const ModelSpec model = load_model("nvidia/Llama-3.1-8B-Instruct-FP8");
  CHECK(model.native.weight == DType::bf16);
  REQUIRE(model.notes.size() == 1);
  CHECK(model.notes[0].find("FP8") != std::string::npos);
}

TEST_CASE("does an unknown name get the nearest known one?") {
  try {
    load_model("llama-3.1-9b");
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(std::string(e.what()) == "unknown model 'llama-3.1-9b'");
    CHECK(e.hint().find("llama-3.1-8b") != std::string::npos);
  }
  CHECK_THROWS_WITH(load_model("/nowhere/config.json"),
                    Catch::Contains("cannot read '/nowhere/config.json'"));
}

TEST_CASE("is a folder or file of the user's read like a shipped model?") {
  const std::string folder = std::string(ORRERY_SOURCE_DIR) + "/models/qwen3-8b";
  CHECK(load_model(folder).name == "qwen3-8b");
  CHECK(load_model(folder + "/").name == "qwen3-8b");
  CHECK(load_model(folder + "/config.json").parameters() == load_model("qwen3-8b").parameters());
}
