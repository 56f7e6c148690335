#include <filesystem>
#include <map>
#include <optional>

#include <catch2/catch.hpp>

#include "model/model_spec.hpp"
#include "support/reference_data.hpp"

using namespace orrery;
namespace fs = std::filesystem;

namespace {
/// What is published of a checkpoint, in billions of parameters: all of the language model's, and those that
/// a token multiplies without the input embedding (0 = not published); bytes of a 16-bit KV cache per token
/// beyond every window. Sources: model cards and papers; counts of the published safetensors; where only
/// sizes are published, their product written out by hand.
struct Expected {
  double total = 0, active = 0;
  double kv_bytes = 0;
  DType weight = DType::bf16;  ///< of most linear layers
};

const Expected kLlama8{8.030261248, 0, 131072}, kLlama70{70.553706496, 0, 327680};
const Expected kQwen3Moe30{30.532, 3.353 - 151936 * 2048e-9, 98304};
const Expected kQwen3Moe235{235.09, 22.19 - 151936 * 4096e-9, 192512};
const Expected kDeepSeekV3{671.03, 37.55 - 129280 * 7168e-9, 70272};
// With the indexer's fp8 keys of 128 and their 4-byte scale: 61 (1152 + 132).
const Expected kDeepSeekV32{671.88, 38.40 - 129280 * 7168e-9, 78324};
const Expected kKimiK2{1026.4, 32.86 - 163840 * 7168e-9, 70272};
const Expected kGlm5{743.91, 41.78 - 154880 * 6144e-9, 100152};
const Expected kMiniMaxM2{228.69, 0, 62 * 4096};
// "284 B parameters, 13 B activated"; 21 layers keep a key of 512 and an index key of 132 bytes for 4 tokens,
// 20 a key for 128.
const Expected kDeepSeekV4{284.3, 0, 21 * (1024 + 132) / 4.0 + 20 * 1024 / 128.0};
const Expected kNano{31.58, 3.58 - 131072 * 2688e-9, 6144}, kSuper{120.67, 12.77 - 131072 * 4096e-9, 8192};
// "25.2 B in total, 3.8 B active" of the language model; 5 full layers of 2 x 2 heads of 512.
const Expected kGemma4{25.2, 0, 20480};

// Qwen3.5-122B-A10B and 27B by hand, as their configs' sizes give them: Gated DeltaNet (q, k, v, z, b, a,
// convolution, output, A, dt and norm), attention (q and its gate, k, v, o, two norms), experts (three
// matrices, router, shared one with its gate) or a dense feed-forward, two norms a layer.
double qwen35(double hidden, double layers, double value_heads, double heads, double kv_heads, double ffn) {
  const double keys = 16 * 128, values = value_heads * 128;
  const double delta = hidden * (2 * keys + 2 * values + 2 * value_heads) + 4 * (2 * keys + values) +
                       values * hidden + 2 * value_heads + 128;
  const double attention = hidden * 256 * (2 * heads + 2 * kv_heads) + 256 * heads * hidden + 512;
  return (layers * (0.75 * delta + 0.25 * attention + ffn + 2 * hidden) + hidden + 2 * 248320 * hidden) *
         1e-9;
}
double qwen35_experts(double hidden, double experts, double width) {
  return 3 * hidden * width * (experts + 1) + hidden * experts + hidden;
}
const Expected kQwen35_122{qwen35(3072, 48, 64, 32, 2, qwen35_experts(3072, 256, 1024)), 0, 12 * 2048};
const Expected kQwen35_397{396.35, 0, 30720};

const std::map<std::string, Expected> kPublished{
    {"meta-llama--Meta-Llama-3.1-8B", kLlama8},
    {"meta-llama--Meta-Llama-3.1-70B", kLlama70},
    {"meta-llama--Meta-Llama-3.1-405B", {405.853388800, 0, 516096}},
    {"nvidia--Llama-3.1-70B-Instruct-FP8", {70.553706496, 0, 327680, DType::fp8}},
    {"meta-llama--Llama-4-Scout-17B-16E-Instruct", {107.77, 0, 49152}},
    {"meta-llama--Llama-4-Maverick-17B-128E-Instruct", {400.71, 0, 49152}},
    {"Qwen--Qwen3-0.6B", {0.596049920, 0, 114688}},
    {"Qwen--Qwen3-1.7B", {1.720574976, 0, 114688}},
    {"Qwen--Qwen3-8B", {8.190735360, 0, 147456}},
    {"Qwen--Qwen3-32B", {32.762123264, 0, 262144}},
    {"Qwen--Qwen3-32B-FP8", {32.762123264, 0, 262144, DType::fp8}},
    {"Qwen--Qwen3-32B-FP8-Static-PerTensor", {32.762123264, 0, 262144, DType::fp8}},
    {"Qwen--Qwen3-30B-A3B", kQwen3Moe30},
    {"Qwen--Qwen3-30B-A3B-FP8", {30.532, kQwen3Moe30.active, 98304, DType::fp8}},
    {"Qwen--Qwen3-235B-A22B", kQwen3Moe235},
    {"Qwen--Qwen3-235B-A22B-FP8", {235.09, kQwen3Moe235.active, 192512, DType::fp8}},
    {"nvidia--Qwen3-235B-A22B-NVFP4", {235.09, kQwen3Moe235.active, 192512, DType::fp4}},
    {"Qwen--Qwen3-VL-2B-Instruct", {1.720574976, 0, 114688}},
    {"Qwen--Qwen3-VL-4B-Instruct", {4.022468096, 0, 147456}},
    {"Qwen--Qwen3-VL-8B-Instruct", {8.190735360, 0, 147456}},
    {"Qwen--Qwen3-VL-30B-A3B-Instruct", kQwen3Moe30},
    {"Qwen--Qwen3-VL-235B-A22B-Instruct", kQwen3Moe235},
    {"Qwen--Qwen3.5-27B", {qwen35(5120, 64, 48, 24, 4, 3.0 * 5120 * 17408), 0, 16 * 4096}},
    {"Qwen--Qwen3.5-35B-A3B", {34.66, 0, 20480}},
    {"Qwen--Qwen3.5-122B-A10B", kQwen35_122},
    {"Qwen--Qwen3.5-397B-A17B", kQwen35_397},
    {"nvidia--Qwen3.5-122B-A10B-NVFP4", kQwen35_122},
    {"nvidia--Qwen3.5-397B-A17B-NVFP4", kQwen35_397},
    {"MiniMaxAI--MiniMax-M2.5", kMiniMaxM2},
    {"MiniMaxAI--MiniMax-M2.7", kMiniMaxM2},
    {"nvidia--MiniMax-M2.5-NVFP4", kMiniMaxM2},
    {"nvidia--MiniMax-M2.7-NVFP4", kMiniMaxM2},
    {"XiaomiMiMo--MiMo-V2-Flash", {308.8, 0, 23040}},
    {"deepseek-ai--DeepSeek-V3", kDeepSeekV3},
    {"deepseek-ai--DeepSeek-R1", kDeepSeekV3},
    {"nvidia--DeepSeek-V3.1-NVFP4", kDeepSeekV3},
    {"deepseek-ai--DeepSeek-V3.2", kDeepSeekV32},
    {"nvidia--DeepSeek-V3.2-NVFP4", kDeepSeekV32},
    {"deepseek-ai--DeepSeek-V4-Flash", kDeepSeekV4},
    {"nvidia--DeepSeek-V4-Flash-NVFP4", kDeepSeekV4},
    {"sgl-project--DeepSeek-V4-Flash-FP8", kDeepSeekV4},
    {"zai-org--GLM-5", kGlm5},
    {"zai-org--GLM-5-FP8", kGlm5},
    {"zai-org--GLM-5.1", kGlm5},
    {"zai-org--GLM-5.1-FP8", kGlm5},
    {"nvidia--GLM-5.1-NVFP4", kGlm5},
    {"mistralai--Mixtral-8x7B-v0.1", {46.702792704, 12.880 - 32000 * 4096e-9, 131072}},
    {"moonshotai--Kimi-K2-Instruct", kKimiK2},
    {"moonshotai--Kimi-K2.5", kKimiK2},
    {"nvidia--Kimi-K2.5-NVFP4", kKimiK2},
    {"nvidia--Kimi-K2.6-NVFP4", kKimiK2},
    {"google--gemma-4-26B-A4B", kGemma4},
    {"nvidia--Gemma-4-26B-A4B-NVFP4", kGemma4},
    {"nvidia--Llama-3_3-Nemotron-Super-49B-v1", {49.867, 0, 200704}},
    {"nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", kNano},
    {"nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", kNano},
    {"nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8", kSuper},
    {"nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", kSuper},
    {"nvidia--Nemotron-H-56B-Base-8K", {56.32, 0, 40960}},
    {"openai--gpt-oss-20b", {20.915, 3.608, 24576}},
    {"openai--gpt-oss-120b", {116.829, 5.133, 36864}},
};

LoweringContext cached_in_16_bits() {
  LoweringContext ctx;
  ctx.precision.kv_cache = DType::bf16;
  return ctx;
}

/// Calls `body` with each model_configs/<name>_config.json as (name, model).
template <class Body>
void for_each_config(const std::string& data, const Body& body) {
  for (const auto& entry : fs::directory_iterator(data + "/model_configs")) {
    const std::string file = entry.path().filename().string();
    const auto end = file.find("_config.json");
    if (end == std::string::npos || file.find("_hf_quant_config") != std::string::npos) continue;
    INFO(file);
    body(file.substr(0, end), load_model(entry.path().string()));
  }
}
}  // namespace

TEST_CASE("is every real config.json imported with the published number of parameters?") {
  REQUIRE_REFERENCE_DATA(data);
  std::size_t imported = 0;
  for_each_config(data, [&](const std::string& name, const ModelSpec& model) {
    INFO(name);
    const auto published = kPublished.find(name);
    REQUIRE(published != kPublished.end());
    const Expected& expected = published->second;
    const double text = model.parameters() - (model.encoder ? model.encoder->parameters() : 0);
    // Counts given to one decimal are rounded.
    CHECK(text * 1e-9 == Approx(expected.total).epsilon(0.001).margin(expected.total < 26 ? 0.05 : 0));
    if (expected.active > 0) {
      CHECK(model.active_parameters() * 1e-9 == Approx(expected.active).epsilon(0.001).margin(0.0051));
    }
    ++imported;
  });
  CHECK(imported == kPublished.size());
}

TEST_CASE("does every real config.json keep the published bytes of KV cache per token?") {
  REQUIRE_REFERENCE_DATA(data);
  for_each_config(data, [&](const std::string& name, const ModelSpec& model) {
    INFO(name);
    CHECK(model.kv_bytes_per_token(cached_in_16_bits()) == kPublished.at(name).kv_bytes);
  });
}

TEST_CASE("is a checkpoint that stores its linear layers quantised read so?") {
  REQUIRE_REFERENCE_DATA(data);
  for_each_config(data, [&](const std::string& name, const ModelSpec& model) {
    const DType weight = kPublished.at(name).weight;
    INFO(name);
    if (weight != DType::bf16) CHECK(model.native.weight == weight);
  });
}

TEST_CASE("do configs with a vision tower bring their encoder, with the published count of all parameters?") {
  REQUIRE_REFERENCE_DATA(data);
  // Counts of the published safetensors.
  const std::map<std::string, double> whole{{"Qwen--Qwen3-VL-2B-Instruct", 2.127532032},
                                            {"Qwen--Qwen3-VL-4B-Instruct", 4.437815808},
                                            {"Qwen--Qwen3-VL-8B-Instruct", 8.767123696},
                                            {"Qwen--Qwen3-VL-30B-A3B-Instruct", 31.070754032}};
  std::size_t checked = 0;
  for_each_config(data, [&](const std::string& name, const ModelSpec& model) {
    INFO(name);
    const auto expected = whole.find(name);
    const bool sees = expected != whole.end() || name.find("Qwen3.5") != std::string::npos ||
                      name.find("Kimi-K2.") != std::string::npos || name.find("-VL-") != std::string::npos ||
                      name.find("emma-4") != std::string::npos;
    CHECK(model.encoder.has_value() == sees);
    if (expected == whole.end()) return;
    CHECK(model.parameters() * 1e-9 == Approx(expected->second).epsilon(0.0001));
    ++checked;
  });
  CHECK(checked == whole.size());
}
