#include <filesystem>
#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/json.hpp"
#include "model/model_spec.hpp"
#include "support/reference_data.hpp"

using namespace orrery;
namespace fs = std::filesystem;

namespace {
struct Expected {
  double parameters;
  DType weight = DType::bf16;
  DType kv_cache = DType::bf16;
};

/// The dense decoders among the reference checkpoints, with their published element counts.
const std::map<std::string, Expected> kDense{
    {"meta-llama--Meta-Llama-3.1-8B", {8030261248}},
    {"meta-llama--Meta-Llama-3.1-70B", {70553706496}},
    {"meta-llama--Meta-Llama-3.1-405B", {405853388800}},
    {"nvidia--Llama-3.1-70B-Instruct-FP8", {70553706496, DType::fp8, DType::fp8}},
    {"Qwen--Qwen3-0.6B", {596049920}},
    {"Qwen--Qwen3-1.7B", {1720574976}},
    {"Qwen--Qwen3-8B", {8190735360}},
    {"Qwen--Qwen3-32B", {32762123264}},
    {"Qwen--Qwen3-32B-FP8", {32762123264, DType::fp8}},
    {"Qwen--Qwen3-32B-FP8-Static-PerTensor", {32762123264, DType::fp8, DType::fp8}},
};
}  // namespace

TEST_CASE("is every real config.json imported, or refused by the name of its architecture?") {
  REQUIRE_REFERENCE_DATA(data);
  std::size_t imported = 0, refused = 0;
  for (const auto& entry : fs::directory_iterator(data + "/model_configs")) {
    const std::string file = entry.path().filename().string();
    const auto end = file.find("_config.json");
    if (end == std::string::npos || file.find("_hf_quant_config") != std::string::npos) continue;
    INFO(file);
    const auto dense = kDense.find(file.substr(0, end));
    if (dense != kDense.end()) {
      const ModelSpec model = load_model(entry.path().string());
      CHECK(model.parameters() == dense->second.parameters);
      CHECK(model.native.weight == dense->second.weight);
      CHECK(model.native.compute == dense->second.weight);
      CHECK(model.native.kv_cache == dense->second.kv_cache);
      ++imported;
      continue;
    }
    const auto doc = JsonDocument::load(entry.path().string());
    const auto architecture = doc->root().at("architectures").at(0).get<std::string>();
    try {
      load_model(entry.path().string());
      FAIL_CHECK("imported, though not known to be understood");
    } catch (const ConfigError& e) {
      CHECK(std::string(e.what()).find("'" + architecture + "'") != std::string::npos);
      CHECK(e.line() > 0);
      ++refused;
    }
  }
  CHECK(imported == kDense.size());
  CHECK(refused > 40);
}
