#include "model/quantization_modules.hpp"

#include <algorithm>
#include <cctype>

namespace orrery {

namespace {

/// A pattern as a plain name: "re:.*mlp\.(gate|up)_proj.*" becomes "*mlp.(gate|up)_proj*".
std::string plain(std::string_view pattern) {
  if (pattern.starts_with("re:")) pattern.remove_prefix(3);
  std::string name;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' || c == '^' || c == '$') continue;
    if (c == '.' && i + 1 < pattern.size() && pattern[i + 1] == '*') continue;
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (name.ends_with(".weight")) name.resize(name.size() - 7);
  return name;
}

/// Cuts the name behind its layer: "model.layers.3.self_attn*" leaves "self_attn*" and 3.
std::optional<int> take_layer(std::string& name) {
  for (const std::string_view word : {"layers.", "layers", "blocks.", "h."}) {
    const auto at = name.find(word);
    if (at == std::string::npos || (word == "h." && at != 0 && name[at - 1] != '.')) continue;
    auto end = at + word.size();
    const auto digits = end;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) ++end;
    std::optional<int> layer;
    if (end > digits && end - digits < 6) layer = std::stoi(name.substr(digits, end - digits));
    name.erase(0, end);
    name.erase(0, name.find_first_not_of(".*"));
    return layer;
  }
  return std::nullopt;
}

bool has(std::string_view name, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](auto w) { return name.find(w) != std::string_view::npos; });
}

/// The last part of a dotted name, without wildcards.
std::string_view last_part(std::string_view name) {
  while (!name.empty() && (name.back() == '*' || name.back() == '.')) name.remove_suffix(1);
  if (const auto dot = name.find_last_of(".*"); dot != std::string_view::npos) name.remove_prefix(dot + 1);
  return name;
}

bool among(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Parts that stay in 16 bits in any case, or belong to no layer of the language model.
bool apart_anyway(std::string_view name, std::string_view last) {
  if (among(last, {"head", "gate", "bias", "router", "wte", "wpe", "shared_expert_gate"})) return true;
  return has(name, {"lm_head", "embed", "norm", "router", "e_score_correction", "conv1d", "indexer",
                    "eh_proj", "shared_head", "vision", "visual", "mm_projector", "multi_modal", "audio",
                    "rotary", "a_log", "dt_bias"}) ||
         name.starts_with("mtp") || name.find(".mtp") != std::string_view::npos;
}

std::vector<Module> modules_of(std::string_view name, std::string_view last) {
  if (has(name, {"shared_expert"})) return {Module::ffn};
  if (has(name, {"expert"})) return {Module::experts};
  if (among(last, {"o_proj", "out_proj", "wo", "dense"})) return {Module::mixer_output};
  if (among(last, {"q_proj", "k_proj", "v_proj", "qkv_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa",
                   "kv_b_proj", "in_proj", "wq", "wk", "wv", "wqkv", "query_key_value"}))
    return {Module::mixer};
  if (has(name, {"attn", "attention", "mixer", "mamba", "ssm"})) return {Module::mixer, Module::mixer_output};
  if (has(name, {"mlp", "ffn", "feed_forward"})) return {Module::ffn};
  if (has(name, {"gate_proj", "up_proj", "down_proj"})) return {Module::ffn, Module::experts};
  return {};
}

}  // namespace

std::optional<ModuleName> understand_module_name(std::string_view pattern) {
  std::string name = plain(pattern);
  ModuleName found;
  const std::string whole = name;
  if (apart_anyway(whole, last_part(whole))) {
    found.layer = take_layer(name);
    return found;
  }
  found.layer = take_layer(name);
  if (name.empty()) {  // a layer and all in it
    if (!found.layer) return std::nullopt;
    found.modules = {Module::mixer, Module::mixer_output, Module::ffn, Module::experts};
    return found;
  }
  found.modules = modules_of(name, last_part(name));
  if (found.modules.empty()) return std::nullopt;
  return found;
}

void NamedModules::add(const ModuleName& name) {
  if (name.layer && layers_ > 0 && *name.layer >= layers_) return;
  if (name.layer) mentioned_.insert(*name.layer);
  const bool whole = name.modules.size() == kModules;
  whole_ += whole ? 1 : 0;
  for (const Module module : name.modules) {
    Layers& layers = covered_[static_cast<std::size_t>(module)];
    if (!name.layer) layers.all = true;
    if (name.layer && layers.layers.insert(*name.layer).second && !whole) ++layers.own;
  }
}

bool NamedModules::most(Module module) const {
  const std::size_t n = of(module).layers.size();
  return of(module).all || (2 * n > mentioned_.size() && 4 * n >= static_cast<std::size_t>(layers_));
}

std::string_view describe(Module module) {
  constexpr std::string_view names[] = {"mixers", "dense and shared feed-forwards", "routed experts",
                                        "output projections of mixers"};
  return names[static_cast<std::size_t>(module)];
}

}  // namespace orrery
