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
  CHECK(uncounted <= 8);
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
