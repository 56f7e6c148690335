#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "model/config_import.hpp"
#include "model/quantization_modules.hpp"
#include "model/quantization_schemes.hpp"

namespace orrery {
namespace {

ModuleName understand(JsonView& view, const std::string& key, const std::string& name) {
  if (auto found = understand_module_name(name)) return std::move(*found);
  view.fail(key, fmt::format("no idea which layers '{}' are", name),
            "known: attention, MLP and expert layers by their usual names");
}

/// The names under the keys by which methods list what is left unquantised.
NamedModules excluded_modules(JsonView& view, int layers) {
  NamedModules found(layers);
  for (const char* key :
       {"ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules", "llm_int8_skip_modules"}) {
    for (const auto& name : view.texts_or(key, {})) found.add(understand(view, key, name));
  }
  return found;
}

LinearFormat unquantised(const Precision& p) {
  LinearFormat format;
  format.weight = format.compute = p.activation;
  return format;
}

/// Leaves modules in the activation's format that are excluded in most layers; says so where it is some.
void exclude(const NamedModules& excluded, Precision& p, std::vector<std::string>& notes) {
  const LinearFormat quantised = p.linear(Module::mixer);
  for (const Module module : {Module::mixer, Module::ffn, Module::experts}) {
    if (excluded.most(module)) {
      p.of(module) = unquantised(p);
      add_note(notes, fmt::format("{} are left in {}", describe(module), name(p.activation)));
    } else if (excluded.named(module) > 0) {
      add_note(notes, fmt::format("{} are left in {} in {} layers, priced quantised as in the others",
                                  describe(module), name(p.activation), excluded.named(module)));
    }
  }
  if (excluded.whole_layers() > 0)
    add_note(notes, fmt::format("{} whole layers are left in {}, what they hold is priced as in the others",
                                excluded.whole_layers(), name(p.activation)));
  const bool inputs = excluded.most(Module::mixer), outputs = excluded.most(Module::mixer_output);
  if (inputs == outputs) return;
  p.of(Module::mixer_output) = outputs ? unquantised(p) : quantised;
  add_note(notes, fmt::format("{} are {}", describe(Module::mixer_output), outputs ? "not" : "quantised"));
}

/// How a checkpoint was made and packed, which no kernel's cost depends on.
constexpr const char* kProvenanceKeys[] = {"version",
                                           "backend",
                                           "do_fuse",
                                           "desc_act",
                                           "true_sequential",
                                           "damp_percent",
                                           "static_groups",
                                           "model_name_or_path",
                                           "model_file_base_name",
                                           "checkpoint_format",
                                           "is_marlin_format",
                                           "exllama_config",
                                           "use_exllama",
                                           "max_input_length",
                                           "cache_block_outputs",
                                           "dataset",
                                           "tokenizer",
                                           "batch_size",
                                           "block_name_to_quantize",
                                           "module_name_preceding_first_block",
                                           "pad_token_id",
                                           "use_cuda_fp16",
                                           "pack_dtype",
                                           "model_seqlen",
                                           "meta",
                                           "format",
                                           "quantization_status",
                                           "global_compression_ratio",
                                           "activation_scheme",
                                           "activation_scale_ub",
                                           "fmt",
                                           "scale_fmt",
                                           "moe_quant_algo",
                                           "bnb_4bit_compute_dtype",
                                           "bnb_4bit_quant_storage",
                                           "llm_int8_enable_fp32_cpu_offload",
                                           "llm_int8_has_fp16_weight",
                                           "llm_int8_threshold",
                                           "pre_quant_scale"};

/// Null and empty values say that something was not done.
void ignore_empty(JsonView& view) {
  for (const auto& key : view.keys()) {
    if (view.value().at(key).empty()) view.ignore(key);
  }
}

/// compressed-tensors and ModelOpt: config_groups by their targets. "Linear" stands for every layer.
void apply_groups(JsonView& view, Precision& p) {
  auto groups = view.object("config_groups");
  std::optional<LinearFormat> everywhere;
  std::map<Module, LinearFormat> apart;
  for (const auto& key : groups.keys()) {
    auto group = groups.object(key);
    const LinearFormat format = group_format(group, p.activation);
    for (const auto& target : group.texts_or("targets", {"Linear"})) {
      if (target != "Linear") {
        for (const Module module : understand(group, "targets", target).modules) apart[module] = format;
      } else if (everywhere.value_or(format) != format) {
        view.fail("config_groups", "layers of different formats, both of 'Linear', are not supported");
      } else {
        everywhere = format;
      }
    }
  }
  if (!everywhere && apart.empty()) view.fail("config_groups", "expected at least one group");
  if (everywhere) p.set_linear(*everywhere);
  for (const auto& [module, format] : apart) p.of(module) = format;
}

/// 2:4 weights are multiplied as such (sparse-24); other sparse checkpoints are unpacked when loaded.
void apply_sparsity(JsonView& view, Precision& p, std::vector<std::string>& notes) {
  auto config = view.object_if("sparsity_config");
  if (!config || config->text_or("format", "dense") == "dense") return;
  if (config->text_or("sparsity_structure", "unstructured") != "2:4") {
    add_note(notes, "weights with unstructured zeros are unpacked when loaded: no kernel gains from them");
    return;
  }
  LinearFormat format = p.linear(Module::mixer);
  format.sparsity.keep = 2, format.sparsity.of = 4;
  p.set_linear(format);
}

/// ModelOpt's MIXED_PRECISION: the algorithm of each layer by name. A module has that of most of its layers;
/// what is not named stays as it is.
void apply_layers(JsonView& view, Precision& p, std::vector<std::string>& notes) {
  auto layers = view.object("quantized_layers");
  std::map<Module, std::vector<std::pair<LinearFormat, int>>> votes;
  for (const auto& key : layers.keys()) {
    auto layer = layers.object(key);
    const LinearFormat format = algorithm_format(layer, "quant_algo", p.activation);
    for (const Module module : understand(view, "quantized_layers", key).modules) {
      auto& formats = votes[module];
      const auto found =
          std::find_if(formats.begin(), formats.end(), [&](auto& f) { return f.first == format; });
      found == formats.end() ? formats.emplace_back(format, 1) : (++found->second, *found);
    }
  }
  for (const auto& [module, formats] : votes) {
    const auto most = std::max_element(formats.begin(), formats.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    p.of(module) = most->first;
    if (formats.size() > 1)
      add_note(notes,
               fmt::format("{} have {} formats, priced in that of most", describe(module), formats.size()));
  }
}

/// compressed-tensors' and ModelOpt's own description of what they did.
void apply_schemes(JsonView& view, int layers, Precision& p, std::vector<std::string>& notes) {
  if (view.has("config_groups")) {
    view.ignore("quant_algo"), view.ignore("group_size");
    apply_groups(view, p);
  } else {
    p.set_linear(algorithm_format(view, "quant_algo", p.activation));
  }
  apply_sparsity(view, p, notes);
  exclude(excluded_modules(view, layers), p, notes);
}

bool mixed_precision(JsonView& view) {
  return view.has("quantized_layers") && view.text_or("quant_algo", "") == "MIXED_PRECISION";
}

/// MXFP4 as engines run it: routed experts only, multiplied in 16 bits (vLLM, Mxfp4Config).
void apply_mxfp4(JsonView& view, int layers, Precision& p, std::vector<std::string>& notes) {
  excluded_modules(view, layers);
  p.of(Module::experts) = grouped_format(DType::fp4, p.activation, mx_scales().rows, false);
  add_note(notes, fmt::format("routed experts in MXFP4, the rest in {}", name(p.activation)));
}

void apply_method(const std::string& method, JsonView& view, int layers, Precision& p,
                  std::vector<std::string>& notes) {
  if (method == "mxfp4") return apply_mxfp4(view, layers, p, notes);
  const bool layer_by_layer = mixed_precision(view);
  if (method == "fp8" || method == "fbgemm_fp8") {
    p.set_linear(fp8_format(view));
  } else if (method == "awq" || method == "gptq") {
    p.set_linear(packed_format(view, method, p.activation));
  } else if (method == "bitsandbytes") {
    p.set_linear(bitsandbytes_format(view, p.activation));
  } else if (method != "compressed-tensors" && !method.starts_with("modelopt")) {
    view.fail("quant_method", fmt::format("quantisation method '{}' is not supported yet", method),
              "supported: fp8 fbgemm_fp8 awq gptq mxfp4 bitsandbytes compressed-tensors modelopt");
  } else if (!layer_by_layer) {
    return apply_schemes(view, layers, p, notes);
  }
  // With layers named one by one, what is ignored is what has the method's format, not one of theirs.
  const NamedModules excluded = excluded_modules(view, layers);
  if (!layer_by_layer) return exclude(excluded, p, notes);
  for (const char* key : {"config_groups", "group_size", "quant_algo"}) view.ignore(key);
  apply_layers(view, p, notes);
}

}  // namespace

void read_quantization_config(JsonView view, Precision& quantised, std::vector<std::string>& notes,
                              int layers) {
  std::string method = view.text_or("quant_method", "");
  if (auto producer = view.object_if("producer"); producer && method.empty()) {
    method = producer->text_or("name", "");
  }
  for (const char* key : kProvenanceKeys) view.ignore(key);
  for (const char* key : {"kv_cache_scheme", "kv_cache_quant_algo"})
    read_kv_scheme(view, key, quantised, notes);
  apply_method(method, view, layers, quantised, notes);
  ignore_empty(view);
  view.finish();
}

void read_hf_quant_config(JsonView view, Precision& quantised, std::vector<std::string>& notes, int layers) {
  view.ignore("producer");
  auto quantisation = view.object("quantization");
  for (const char* key : {"pre_quant_scale", "has_zero_point", "group_size"}) quantisation.ignore(key);
  read_kv_scheme(quantisation, "kv_cache_quant_algo", quantised, notes);
  if (mixed_precision(quantisation)) {
    excluded_modules(quantisation, layers);
    apply_layers(quantisation, quantised, notes);
  } else {
    apply_schemes(quantisation, layers, quantised, notes);
  }
  quantisation.finish();
  view.finish();
}

void read_expert_format(JsonView& config, Precision& quantised, std::vector<std::string>& notes) {
  const std::string format = config.text_or("expert_dtype", "");
  if (format.empty()) return;
  if (format != "fp4") config.fail("expert_dtype", fmt::format("expected fp4, found '{}'", format));
  LinearFormat experts = quantised.linear(Module::experts);
  if (experts.weight == DType::fp4) return;
  experts.weight = DType::fp4, experts.scales = mx_scales();
  quantised.of(Module::experts) = experts;
  add_note(notes, "routed experts are stored in MXFP4");
}

}  // namespace orrery
