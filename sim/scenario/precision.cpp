#include "scenario/precision.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

/// What a --quantization quantises: every linear layer, or routed experts alone.
enum class Scope : std::uint8_t { linear_layers, experts };
/// What its matrices are multiplied in: the activation's format (weights alone are quantised), the weights'
/// own, or fp8 under narrower weights.
enum class Arithmetic : std::uint8_t { activation, weight, fp8 };

struct Method {
  const char* name;
  DType weight;
  Arithmetic arithmetic;
  Scope scope = Scope::linear_layers;
  WeightScales (*scales)() = nullptr;  ///< others than usual
  bool sparse24 = false;
};
// --quantization names of vLLM, SGLang and TensorRT-LLM.
constexpr Method kMethods[] = {
    {"fp8", DType::fp8, Arithmetic::weight},
    {"w8a8_fp8", DType::fp8, Arithmetic::weight},
    {"ptpc_fp8", DType::fp8, Arithmetic::weight},
    {"fbgemm_fp8", DType::fp8, Arithmetic::weight},
    {"modelopt_fp8", DType::fp8, Arithmetic::weight},
    {"int8", DType::int8, Arithmetic::weight},
    {"w8a8_int8", DType::int8, Arithmetic::weight},
    {"experts_int8", DType::int8, Arithmetic::activation, Scope::experts},
    {"awq", DType::int4, Arithmetic::activation},
    {"awq_marlin", DType::int4, Arithmetic::activation},
    {"gptq", DType::int4, Arithmetic::activation},
    {"gptq_marlin", DType::int4, Arithmetic::activation},
    {"gptq_marlin_24", DType::int4, Arithmetic::activation, Scope::linear_layers, nullptr, true},
    {"moe_wna16", DType::int4, Arithmetic::activation, Scope::experts},
    {"w4afp8", DType::int4, Arithmetic::fp8, Scope::experts},
    {"bitsandbytes", DType::int4, Arithmetic::activation, Scope::linear_layers, double_quantised_scales},
    {"mxfp4", DType::fp4, Arithmetic::activation, Scope::experts, mx_scales},
    {"modelopt_fp4", DType::fp4, Arithmetic::weight},
    {"nvfp4", DType::fp4, Arithmetic::weight},
};
// These say how the checkpoint is stored, which its config.json has said already.
constexpr const char* kFromCheckpoint[] = {"auto", "compressed-tensors", "modelopt"};
constexpr const char* kUnquantised[] = {"none", "bf16", "bfloat16"};
constexpr Module kEveryModule[] = {Module::mixer, Module::ffn, Module::experts, Module::mixer_output};

template <std::size_t N>
bool among(const std::string& word, const char* const (&words)[N]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

/// Whether the checkpoint is already stored in what a method would make of it.
bool stored_so(const Precision& p, const Method& method) {
  return std::any_of(std::begin(kEveryModule), std::end(kEveryModule),
                     [&](Module m) { return p.linear(m).weight == method.weight; });
}

LinearFormat format_of(const Method& method, const Precision& p) {
  LinearFormat format;
  format.weight = method.weight;
  format.compute = method.arithmetic == Arithmetic::weight ? method.weight
                   : method.arithmetic == Arithmetic::fp8  ? DType::fp8
                                                           : p.activation;
  if (method.scales != nullptr) format.scales = method.scales();
  if (method.sparse24) format.sparsity.keep = 2, format.sparsity.of = 4;
  return format;
}

void unquantise(Precision& p) {
  p.apart = {};
  p.weight = p.compute = p.activation;
}

void apply_quantization(const std::string& method, Precision& p) {
  if (among(method, kFromCheckpoint)) return;
  if (among(method, kUnquantised)) {
    unquantise(p);
    p.kv_cache = p.activation;
    return;
  }
  const auto* found =
      std::find_if(std::begin(kMethods), std::end(kMethods), [&](const auto& m) { return method == m.name; });
  if (found == std::end(kMethods)) {
    std::vector<std::string> names{"auto", "none", "compressed-tensors", "modelopt"};
    for (const auto& m : kMethods) names.emplace_back(m.name);
    throw ConfigError(fmt::format("quantization: '{}' is not modelled", method), suggestion(method, names),
                      ExitCode::usage);
  }
  if (stored_so(p, *found)) return;
  unquantise(p);
  const LinearFormat format = format_of(*found, p);
  if (found->scope == Scope::experts) {
    p.of(Module::experts) = format;
  } else {
    p.set_linear(format);
  }
}

std::string computable(const DeviceProfile& device) {
  std::string words;
  for (int t = 0; t < kDTypeCount; ++t) {
    const auto format = static_cast<DType>(t);
    if (device.tensor_peak(format) > 0) words += fmt::format("{}{}", words.empty() ? "" : " ", name(format));
  }
  return words;
}

/// Weights narrower than the matrix units read are widened in the kernel, as engines do; activations in 4-bit
/// integers are not, as no engine has a kernel for that.
DType fit_to_device(DType weight, DType compute, DType activation, const DeviceProfile& device,
                    std::vector<std::string>& warnings) {
  if (device.tensor_peak(compute) > 0) return compute;
  if (compute == DType::fp8 || compute == DType::int8 || compute == DType::fp4) {
    auto warning = fmt::format(
        "{} has no {} matrix units: {} weights are widened to {} in the kernel (W{:g}A16)", device.name,
        name(compute), name(weight), name(activation), 8 * bytes_per_element(weight));
    if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end())
      warnings.push_back(std::move(warning));
    return activation;
  }
  throw ConfigError(
      fmt::format("quantization: {} cannot compute in {}", device.name, name(compute)),
      fmt::format("valid on {}: {}; choose another --quantization or --gpu", device.name, computable(device)),
      ExitCode::infeasible);
}

void fit_to_device(Precision& p, const DeviceProfile& device, std::vector<std::string>& warnings) {
  for (const Module module : kEveryModule) p.linear(module).check();
  p.compute = fit_to_device(p.weight, p.compute, p.activation, device, warnings);
  for (auto& apart : p.apart) {
    if (apart) apart->compute = fit_to_device(apart->weight, apart->compute, p.activation, device, warnings);
  }
}

/// --dtype: what was in the activation's format follows it.
void set_activation(DType wanted, Precision& p) {
  const auto follow = [&](DType& t) {
    if (t == p.activation) t = wanted;
  };
  for (DType* t : {&p.weight, &p.compute, &p.kv_cache, &p.lm_head}) follow(*t);
  for (auto& apart : p.apart) {
    if (apart) follow(apart->weight), follow(apart->compute);
  }
  p.activation = wanted;
}

DType kv_format(const std::string& text) {
  static constexpr std::array words{"bfloat16", "float16", "fp8",   "fp8_e4m3", "fp8_e5m2",
                                    "int8",     "int4",    "nvfp4", "bf16",     "fp16"};
  if (std::find(words.begin(), words.end(), text) == words.end()) {
    throw ConfigError(fmt::format("kv_cache_dtype: '{}' is not modelled", text),
                      "valid values: auto bfloat16 float16 fp8 fp8_e4m3 fp8_e5m2 int8 int4 nvfp4",
                      ExitCode::usage);
  }
  return parse_dtype(text);
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
    set_activation(wanted, p);
  }
  apply_quantization(scenario.quantization, p);
  fit_to_device(p, device, warnings);
  if (scenario.kv_cache_dtype != "auto") p.kv_cache = kv_format(scenario.kv_cache_dtype);
  return p;
}

}  // namespace orrery
