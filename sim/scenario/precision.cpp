#include "scenario/precision.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

struct Method {
  const char* name;
  DType weight;
  bool quantised_arithmetic;  ///< activations too (W8A8), not weights alone
};
// --quantization names of vLLM, SGLang and TensorRT-LLM.
constexpr Method kMethods[] = {
    {"fp8", DType::fp8, true},          {"w8a8_fp8", DType::fp8, true},   {"fbgemm_fp8", DType::fp8, true},
    {"int8", DType::int8, true},        {"w8a8_int8", DType::int8, true}, {"awq", DType::int4, false},
    {"awq_marlin", DType::int4, false}, {"gptq", DType::int4, false},     {"gptq_marlin", DType::int4, false},
};
// These say how the checkpoint is stored, which its config.json has said already.
constexpr const char* kFromCheckpoint[] = {"auto", "compressed-tensors", "modelopt"};
constexpr const char* kUnquantised[] = {"none", "bf16", "bfloat16"};

template <std::size_t N>
bool among(const std::string& word, const char* const (&words)[N]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

void apply_quantization(const std::string& method, Precision& p) {
  if (among(method, kFromCheckpoint)) return;
  if (among(method, kUnquantised)) {
    p.weight = p.compute = p.activation;
    p.kv_cache = p.activation;
    return;
  }
  std::vector<std::string> names{"auto", "none", "compressed-tensors", "modelopt"};
  for (const auto& m : kMethods) {
    if (method == m.name) {
      p.weight = m.weight;
      p.compute = m.quantised_arithmetic ? m.weight : p.activation;
      return;
    }
    names.push_back(m.name);
  }
  throw ConfigError(fmt::format("quantization: '{}' is not modelled", method), suggestion(method, names),
                    ExitCode::usage);
}

void fit_to_device(Precision& p, const DeviceProfile& device, std::vector<std::string>& warnings) {
  if (device.tensor_peak(p.compute) > 0) return;
  if (p.compute == DType::fp8 || p.compute == DType::int8) {
    warnings.push_back(
        fmt::format("{} has no {} matrix units: {} weights are widened to {} in the kernel (W8A16)",
                    device.name, name(p.compute), name(p.weight), name(p.activation)));
    p.compute = p.activation;
    return;
  }
  throw ConfigError(fmt::format("{} cannot compute in {}", device.name, name(p.compute)),
                    "choose another --quantization or --gpu", ExitCode::infeasible);
}

}  // namespace

Precision choose_precision(const Scenario& scenario, const ModelSpec& model, const DeviceProfile& device,
                           std::vector<std::string>& warnings) {
  Precision p = model.native;
  if (scenario.dtype != "auto") {
    const DType wanted = parse_dtype(scenario.dtype);
    if (wanted != DType::bf16 && wanted != DType::fp16) {
      throw ConfigError(fmt::format("dtype: '{}' is not modelled", scenario.dtype),
                        "valid values: auto bfloat16 float16 (weights: see --quantization)", ExitCode::usage);
    }
    const auto follow = [&](DType& t) {
      if (t == p.activation) t = wanted;
    };
    for (DType* t : {&p.weight, &p.compute, &p.kv_cache, &p.lm_head}) follow(*t);
    p.activation = wanted;
  }
  apply_quantization(scenario.quantization, p);
  fit_to_device(p, device, warnings);
  if (scenario.kv_cache_dtype == "auto") return p;
  const std::string& text = scenario.kv_cache_dtype;
  p.kv_cache = text == "fp8_e5m2" ? DType::fp8 : parse_dtype(text);
  if (p.kv_cache != DType::fp8 && bytes_per_element(p.kv_cache) != 2) {
    throw ConfigError(fmt::format("kv_cache_dtype: '{}' is not modelled", text),
                      "valid values: auto bfloat16 float16 fp8 fp8_e4m3 fp8_e5m2", ExitCode::usage);
  }
  return p;
}

}  // namespace orrery
