#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "model/config_import.hpp"

namespace orrery {
namespace {

/// Format of the linear layers' parameters, and of their arithmetic when that is quantised too.
struct Formats {
  DType weight;
  std::optional<DType> compute;
};

void apply(const Formats& formats, Precision& precision) {
  precision.weight = formats.weight;
  precision.compute = formats.compute.value_or(precision.activation);
}

/// Modules left unquantised must be ones that lowering keeps in the activation's format anyway.
void check_excluded(JsonView& view, const std::string& key) {
  for (const auto& module : view.texts_or(key, {})) {
    const auto has = [&](std::string_view part) { return module.find(part) != std::string::npos; };
    if (has("lm_head") || has("embed_tokens") || has("norm")) continue;
    view.fail(key, fmt::format("a checkpoint with '{}' left unquantised is not supported yet", module));
  }
}

void note_group_size(JsonView& view, std::vector<std::string>& notes) {
  const auto group = view.integer_or("group_size", 128);
  static const std::set<std::int64_t> known{-1, 16, 32, 64, 128};
  if (known.count(group) == 0)
    view.fail("group_size", fmt::format("expected -1, 16, 32, 64 or 128, found {}", group));
  if (group != 128 && group != 16)
    notes.push_back(fmt::format("scales counted in groups of 128, stored in {}", group));
}

Formats integer_weights(JsonView& view, const char* key) {
  const auto bits = view.integer(key);
  if (bits == 4) return {DType::int4, std::nullopt};
  if (bits == 8) return {DType::int8, std::nullopt};
  view.fail(key, fmt::format("expected 4 or 8, found {}", bits));
}

/// One tensor's scheme of compressed-tensors or ModelOpt: {num_bits, type}.
DType scheme_format(JsonView view, std::vector<std::string>& notes) {
  const auto bits = view.integer("num_bits");
  const std::string type = view.text_or("type", "int");
  if (view.has("group_size")) note_group_size(view, notes);
  if (bits == 8) return type == "float" ? DType::fp8 : DType::int8;
  if (bits == 4) return type == "float" ? DType::fp4 : DType::int4;
  view.fail("num_bits", fmt::format("expected 4 or 8, found {}", bits));
}

Formats group_formats(JsonView group, std::vector<std::string>& notes) {
  Formats formats{scheme_format(group.object("weights"), notes), std::nullopt};
  if (auto input = group.object_if("input_activations"))
    formats.compute = scheme_format(std::move(*input), notes);
  for (const auto& target : group.texts_or("targets", {"Linear"})) {
    if (target != "Linear")
      group.fail("targets", fmt::format("only 'Linear' is supported, found '{}'", target));
  }
  return formats;
}

/// compressed-tensors and ModelOpt: config_groups, of which all must agree.
Formats all_groups(JsonView& view, std::vector<std::string>& notes) {
  auto groups = view.object("config_groups");
  std::optional<Formats> found;
  for (const auto& key : groups.keys()) {
    const Formats formats = group_formats(groups.object(key), notes);
    if (found && (found->weight != formats.weight || found->compute != formats.compute)) {
      view.fail("config_groups", "layers of different formats are not supported yet");
    }
    found = formats;
  }
  if (!found) view.fail("config_groups", "expected at least one group");
  return *found;
}

/// Names of ModelOpt's algorithms (nvidia-modelopt, hf_quant_config.json).
Formats algorithm_formats(JsonView& view, const char* key) {
  const std::string name = view.text(key);
  if (name == "FP8") return {DType::fp8, DType::fp8};
  if (name == "NVFP4") return {DType::fp4, DType::fp4};
  if (name == "W4A16_AWQ" || name == "INT4_AWQ") return {DType::int4, std::nullopt};
  if (name == "W4A8_AWQ") return {DType::int4, DType::fp8};
  if (name == "W8A8_SQ_PER_CHANNEL") return {DType::int8, DType::int8};
  view.fail(key, fmt::format("quantisation algorithm '{}' is not supported yet", name),
            "supported: FP8 NVFP4 W4A16_AWQ INT4_AWQ W4A8_AWQ W8A8_SQ_PER_CHANNEL");
}

/// A scheme of the KV cache: the name of an algorithm, or {num_bits, type}.
void read_kv_scheme(JsonView& view, const char* key, Precision& precision, std::vector<std::string>& notes) {
  if (!view.has(key)) return;
  const Json& raw = view.raw(key);
  DType format = precision.kv_cache;
  if (raw.is_object()) {
    format = scheme_format(view.object(key), notes);
  } else if (view.text(key) == "FP8") {
    format = DType::fp8;
  } else {
    view.fail(key, fmt::format("KV cache format '{}' is not supported yet", view.text(key)),
              "supported: FP8");
  }
  if (format != DType::fp8) view.fail(key, "only an fp8 KV cache is supported");
  precision.kv_cache = format;
  notes.emplace_back("the checkpoint asks for an fp8 KV cache");
}

/// How a checkpoint was made and packed, which no kernel's cost depends on.
constexpr const char* kProvenanceKeys[] = {"version",
                                           "zero_point",
                                           "backend",
                                           "do_fuse",
                                           "desc_act",
                                           "sym",
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
                                           "weight_block_size"};

/// Null and empty values say that something was not done.
void ignore_empty(JsonView& view) {
  for (const auto& key : view.keys()) {
    if (view.value().at(key).empty()) view.ignore(key);
  }
}

Formats packed_formats(JsonView& view, std::vector<std::string>& notes) {
  if (view.boolean_or("lm_head", false)) view.fail("lm_head", "a quantised LM head is not supported yet");
  note_group_size(view, notes);
  return integer_weights(view, "bits");
}

Formats scheme_formats(JsonView& view, Precision& quantised, std::vector<std::string>& notes) {
  if (auto sparsity = view.object_if("sparsity_config")) {
    if (sparsity->text_or("format", "dense") != "dense") {
      view.fail("sparsity_config", "sparse weights are not supported yet");
    }
  }
  read_kv_scheme(view, "kv_cache_scheme", quantised, notes);
  view.ignore("quant_algo");
  return view.has("config_groups") ? all_groups(view, notes) : algorithm_formats(view, "quant_algo");
}

}  // namespace

void read_quantization_config(JsonView view, Precision& quantised, std::vector<std::string>& notes) {
  std::string method = view.text_or("quant_method", "");
  if (auto producer = view.object_if("producer"); producer && method.empty()) {
    method = producer->text_or("name", "");
  }
  for (const char* key : {"ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules"}) {
    check_excluded(view, key);
  }
  for (const char* key : kProvenanceKeys) view.ignore(key);
  ignore_empty(view);
  if (method == "fp8" || method == "fbgemm_fp8") {
    apply({DType::fp8, DType::fp8}, quantised);
  } else if (method == "awq" || method == "gptq") {
    apply(packed_formats(view, notes), quantised);
  } else if (method == "compressed-tensors" || method == "modelopt") {
    apply(scheme_formats(view, quantised, notes), quantised);
  } else {
    view.fail("quant_method", fmt::format("quantisation method '{}' is not supported yet", method),
              "supported: fp8 fbgemm_fp8 awq gptq compressed-tensors modelopt");
  }
  view.finish();
}

void read_hf_quant_config(JsonView view, Precision& quantised, std::vector<std::string>& notes) {
  view.ignore("producer");
  auto quantisation = view.object("quantization");
  check_excluded(quantisation, "exclude_modules");
  note_group_size(quantisation, notes);
  const bool kv_known = quantised.kv_cache == DType::fp8;
  std::vector<std::string> kv_notes;
  read_kv_scheme(quantisation, "kv_cache_quant_algo", quantised, kv_notes);
  if (!kv_known) notes.insert(notes.end(), kv_notes.begin(), kv_notes.end());
  apply(algorithm_formats(quantisation, "quant_algo"), quantised);
  quantisation.ignore("has_zero_point");
  quantisation.ignore("pre_quant_scale");
  quantisation.finish();
  view.finish();
}

}  // namespace orrery
