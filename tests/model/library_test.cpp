#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/model_spec.hpp"

using namespace orrery;

TEST_CASE("does every shipped model have as many parameters as its authors publish?") {
  const auto names = list_models();
  REQUIRE(names.size() >= 29);
  for (const auto& name : names) {
    const ModelSpec model = load_model(name);
    INFO(name << ": " << model.reference);
    CHECK_FALSE(model.reference.empty());
    CHECK(model.parameters() == Approx(model.published_parameters).epsilon(0.001));
    CHECK(model.pattern.size() == static_cast<std::size_t>(model.layers()));
  }
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
