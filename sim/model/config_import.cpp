#include "model/config_import.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "model/facts.hpp"
#include "model/family_map.hpp"
#include "model/layer_import.hpp"

namespace orrery {
namespace {

constexpr std::int64_t kLongest = std::int64_t{1} << 40;

/// The object that describes the text model, and the family that reads it. Where that object is nested: the
/// one around it, and the family that reads an encoder there, if any.
struct TextConfig {
  JsonView view;
  FamilyMap family;
  const Json* beside = nullptr;
  std::optional<FamilyMap> around = std::nullopt;
};

std::string first_architecture(JsonView& view) {
  const auto names = view.texts_or("architectures", {});
  return names.empty() ? "" : names.front();
}

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// The family named by model_type, or when there is none the one that claims the architecture.
std::optional<FamilyMap> find_family(JsonView& view) {
  const auto families = list_families();
  const std::string type = view.text_or("model_type", "");
  if (!type.empty()) return contains(families, type) ? std::optional(load_family(type)) : std::nullopt;
  const std::string architecture = first_architecture(view);
  for (const auto& name : families) {
    auto family = load_family(name);
    if (contains(family.architectures, architecture)) return family;
  }
  return std::nullopt;
}

[[noreturn]] void refuse_architecture(JsonView& view, const JsonDocument& doc, const std::string& why = {}) {
  const std::string type = view.text_or("model_type", ""), architecture = first_architecture(view);
  const std::string hint =
      fmt::format("supported families (model_type): {}", fmt::join(list_families(), ", "));
  if (type.empty() && architecture.empty()) {
    throw ConfigError("not a model's config.json: it has neither model_type nor architectures", hint)
        .at(doc.path());
  }
  const long line = doc.line_of(type.empty() ? "/architectures" : "/model_type");
  throw ConfigError(
      fmt::format("architecture '{}' (model_type '{}') is not supported yet{}",
                  architecture.empty() ? "unnamed" : architecture, type.empty() ? "none" : type, why),
      hint)
      .at(doc.path(), line, 0, doc.line_text(line));
}

/// Refuses fields the family does not know; null is what an absent field is.
void refuse_unknown(const JsonView& view, const FamilyMap& family, const std::vector<std::string>& also) {
  for (const auto& key : view.keys()) {
    const Json& value = view.value().at(key);
    if (value.is_null() || contains(also, key) || family.ignores(key)) continue;
    if (const auto exact = family.must_be.find(key); exact != family.must_be.end()) {
      if (value == exact->second) continue;
      view.fail(key, fmt::format("only {} is supported for model_type '{}', found {}", exact->second.dump(),
                                 family.model_type, value.dump().substr(0, 60)));
    }
    if (family.reads(key)) continue;
    view.fail(
        key,
        fmt::format("this field is not understood for model_type '{}' and may change the cost of a step",
                    family.model_type),
        fmt::format("if it is harmless, name it under 'ignored' in {}", family.path));
  }
}

/// The first field beside a nested text model that neither family understands (towers of other modalities
/// first), or that contradicts the nested object; "" when there is none.
std::string unknown_beside(const JsonView& top, const TextConfig& text, const std::string& nest) {
  static const std::vector<std::string> harmless{"model_type", "architectures", "quantization_config",
                                                 "orrery"};
  std::string found;
  for (const auto& key : top.keys()) {
    const Json& value = top.value().at(key);
    if (value.is_null() || key == nest || contains(harmless, key) || text.family.ignores(key)) continue;
    const Json repeated = text.view.value().value(key, Json());
    if (text.family.reads(key) && (repeated.is_null() || repeated == value)) continue;
    if (text.around && (text.around->reads(key) || text.around->ignores(key))) continue;
    if (found.empty() || (key.ends_with("_config") && !found.ends_with("_config"))) found = key;
  }
  return found;
}

TextConfig find_text_config(const std::shared_ptr<const JsonDocument>& doc) {
  JsonView top(doc);
  for (const char* nest : {"text_config", "llm_config", "language_config"}) {
    if (!top.has(nest)) continue;
    auto inner = top.object(nest);
    auto family = find_family(inner);
    if (!family) refuse_architecture(top, *doc);
    TextConfig text{std::move(inner), std::move(*family), &doc->root(), find_family(top)};
    if (const auto beside = unknown_beside(top, text, nest); !beside.empty()) {
      refuse_architecture(top, *doc, fmt::format(": '{}' beside its {} is not understood", beside, nest));
    }
    return text;
  }
  auto family = find_family(top);
  if (!family) refuse_architecture(top, *doc);
  const std::string architecture = first_architecture(top);
  if (!architecture.empty() && !contains(family->architectures, architecture)) refuse_architecture(top, *doc);
  return {std::move(top), std::move(*family)};
}

/// The longest context: as vLLM derives it, a rope scaling that stretches positions multiplies the length it
/// was trained with; the scalings whose length max_position_embeddings already includes do not.
Tokens context_length(JsonView& view, const Facts& facts) {
  const Tokens length = facts.size("max_model_len", 1, kLongest);
  const char* key = view.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (!view.has(key)) return length;
  auto scaling = view.object(key);
  const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  static const std::vector<std::string> included{"default", "llama3", "longrope", "su", "mrope"};
  if (contains(included, type)) return length;
  const double trained =
      type == "yarn" ? scaling.number_or("original_max_position_embeddings", static_cast<double>(length))
                     : static_cast<double>(length);
  const double stretched = trained * scaling.number_or("factor", 1.0);
  if (!(stretched >= 1 && stretched <= static_cast<double>(kLongest))) scaling.fail("factor", "out of range");
  return static_cast<Tokens>(stretched);
}

/// Formats of an unquantised checkpoint: its dtype, except that servers run fp32 ones in bf16.
Precision stored_precision(const Facts& facts, std::vector<std::string>& notes) {
  const std::string given = facts.text("dtype");
  if (given.empty()) notes.emplace_back("no dtype is given: bf16 assumed");
  DType type = given.empty() ? DType::bf16 : parse_dtype(given);
  if (type == DType::fp32) {
    notes.emplace_back("stored in fp32, served in bf16");
    type = DType::bf16;
  }
  if (bytes_per_element(type) != 2) {
    throw ConfigError(fmt::format("dtype '{}' is not a format of activations", given),
                      "valid values: bfloat16 float16");
  }
  return {type, type, type, type, type};
}

void read_about(JsonView about, ModelSpec& model) {
  model.published_parameters = about.number_or("parameters", 0);
  model.published_active = about.number_or("active_parameters", 0);
  model.reference = about.text_or("source", "");
  about.texts_or("aliases", {});
  about.finish();
}

}  // namespace

ModelSpec import_config(const std::shared_ptr<const JsonDocument>& config, const std::string& name,
                        const std::shared_ptr<const JsonDocument>& quantisation) {
  auto text = find_text_config(config);
  refuse_unknown(text.view, text.family, {"model_type", "architectures", "quantization_config", "orrery"});
  Facts facts(text.view, text.family, text.beside);
  ModelSpec model;
  model.name = name;
  model.source = config->path();
  model.family = text.family.model_type;
  facts.set("layers", facts.size("layers", 1, 10000));
  model.hidden = facts.size("hidden", 1, 1 << 20);
  model.vocab = facts.size("vocab", 1, 1 << 26);
  model.tied_embeddings = facts.flag("tied_embeddings");
  model.other_parameters = facts.size("other_parameters", 0, kLongest);
  model.final_norm = facts.size("final_norm_parameters", 0, kLongest);
  model.mtp_layers = static_cast<int>(facts.size("mtp_layers", 0, 64));
  model.max_model_len = context_length(text.view, facts);
  read_layers(facts, model);
  drop_idle_patterns(model);
  JsonView top(config);
  model.encoder = read_encoder(text.around ? Facts(top, *text.around) : facts);
  model.native = stored_precision(facts, model.notes);
  for (auto* view : {&top, &text.view}) {
    if (auto q = view->object_if("quantization_config")) {
      read_quantization_config(std::move(*q), model.native, model.notes, model.layers());
      break;
    }
  }
  if (quantisation) {
    read_hf_quant_config(JsonView(quantisation), model.native, model.notes, model.layers());
  }
  read_expert_format(text.view, model.native, model.notes);
  if (auto about = top.object_if("orrery")) read_about(std::move(*about), model);
  return model;
}

}  // namespace orrery
