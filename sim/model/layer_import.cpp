#include "model/layer_import.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "model/expression.hpp"

namespace orrery {
namespace {

/// What reads the leaves of a family's blocks: expressions over its facts; and names the config's field that
/// a bad one came from.
struct Leaves {
  explicit Leaves(const Facts& facts)
      : evaluate([&facts](const Json& leaf, bool word) {
          if (!leaf.is_string()) return leaf;
          const auto& text = leaf.get_ref<const std::string&>();
          if (!word) return facts.expression(text);
          return text.starts_with('=') ? facts.expression(text.substr(1)) : leaf;
        }),
        blame([&facts](const Json& leaf, const std::string& why) {
          if (!leaf.is_string()) return;
          const auto& text = leaf.get_ref<const std::string&>();
          if (is_name(text) && facts.has(text)) facts.fail(text, why);
        }) {}
  Evaluate evaluate;
  Blame blame;
};

/// The parameters of a block's only key among `names`.
std::pair<std::string, const Json*> only_key(const Json& entry, std::initializer_list<const char*> names,
                                             const std::string& where) {
  std::pair<std::string, const Json*> found{"", nullptr};
  for (const auto& [key, value] : entry.items()) {
    if (key == "when") continue;
    const bool known = std::find(names.begin(), names.end(), key) != names.end();
    if (known && found.second == nullptr) {
      found = {key, &value};
      continue;
    }
    throw ConfigError(fmt::format("{}: '{}' is not understood here", where, key),
                      fmt::format("expected one of: {}", fmt::join(names, ", ")));
  }
  if (found.second == nullptr) {
    throw ConfigError(fmt::format("{}: expected one of: {}", where, fmt::join(names, ", ")));
  }
  return found;
}

class StackReader {
 public:
  StackReader(Facts& facts, ModelSpec& model) : facts_(facts), model_(model), leaves_(facts) {}

  void read(std::int64_t layers) {
    facts_.set("layers", layers);
    for (std::int64_t i = 0; i < layers; ++i) {
      facts_.set("layer", i);
      facts_.check();
      for (const auto& [name, block] : facts_.family().stack.items()) {
        if (block.is_null() || !reader(block, name).applies()) continue;
        place(read_kind(block, name));
      }
    }
    if (model_.pattern.empty()) {
      throw ConfigError(fmt::format("family '{}' has no layers", model_.family)).at(facts_.family().path);
    }
  }

 private:
  BlockReader reader(const Json& object, const std::string& name) const {
    return {object, leaves_.evaluate, leaves_.blame, model_.family + "." + name};
  }

  LayerKind read_kind(const Json& block, const std::string& name) const {
    LayerKind kind;
    for (const auto& [key, value] : block.items()) {
      const std::string where = fmt::format("{}.{}", name, key);
      if (key == "mixers") {
        for (const auto& [mixer, entry] : value.items()) {
          if (entry.is_null() || !reader(entry, fmt::format("{}.{}", where, mixer)).applies()) continue;
          kind.mixers.push_back(
              read_mixer(entry, leaves_.evaluate, leaves_.blame, model_.family + "." + where));
        }
      } else if (key == "ffn") {
        read_ffns(value, where, kind);
      } else if (key == "norms") {
        kind.norms = reader(value, where).read<NormParams>();
      } else if (key == "other_parameters") {
        kind.other_parameters = number(value).get<std::int64_t>();
      } else if (key == "residual") {
        kind.residual = reader(value, where).read<ResidualParams>();
      } else if (key == "own") {
        read_own(value, where, kind);
      } else if (key == "last_token") {
        kind.last_token = leaves_.evaluate(value, false).get<bool>();
      } else if (key == "copies") {
        kind.copies = number(value).get<std::int64_t>();
      } else if (key == "depth") {
        kind.depth = number(value).get<double>();
      } else if (key != "when") {
        throw ConfigError(
            fmt::format("{}: '{}' is no part of a layer", name, key),
            "parts: when, mixers, ffn, norms, residual, other_parameters, copies, own, last_token, depth")
            .at(facts_.family().path);
      }
    }
    return kind;
  }

  Json number(const Json& leaf) const {
    Json value = leaves_.evaluate(leaf, false);
    if (!value.is_number()) {
      throw ConfigError(fmt::format("expected a number, found {}", value.dump())).at(facts_.family().path);
    }
    return value;
  }

  void read_ffns(const Json& entries, const std::string& where, LayerKind& kind) const {
    for (const auto& [name, entry] : entries.items()) {
      if (entry.is_null() || !reader(entry, fmt::format("{}.{}", where, name)).applies()) continue;
      if (!std::holds_alternative<std::monostate>(kind.ffn)) {
        throw ConfigError(fmt::format("{}: two feed-forwards apply to one layer", where))
            .at(facts_.family().path);
      }
      kind.ffn = read_ffn(entry, leaves_.evaluate, leaves_.blame, model_.family + "." + where);
    }
  }

  void read_own(const Json& entries, const std::string& where, LayerKind& kind) const {
    for (const auto& [name, entry] : entries.items()) {
      const BlockReader matrix = reader(entry, fmt::format("{}.{}", where, name));
      if (matrix.applies()) kind.own.push_back(matrix.read<OwnMatrix>());
    }
  }

  /// Adds a layer to the kind it equals, or as the first of a new one.
  void place(LayerKind kind) {
    auto same = std::find_if(model_.kinds.begin(), model_.kinds.end(),
                             [&](const LayerKind& k) { return k.same_kind(kind); });
    if (same == model_.kinds.end()) same = model_.kinds.insert(same, std::move(kind));
    ++same->count;
    model_.pattern.push_back(static_cast<int>(same - model_.kinds.begin()));
  }

  Facts& facts_;
  ModelSpec& model_;
  Leaves leaves_;
};

}  // namespace

Mixer read_mixer(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where) {
  const auto [kind, params] = only_key(entry, {"attention", "latent", "state"}, where);
  const BlockReader reader(*params, evaluate, blame, where + "." + kind);
  if (kind == "attention") return reader.read<AttentionParams>();
  if (kind == "latent") return reader.read<LatentParams>();
  return reader.read<StateParams>();
}

Ffn read_ffn(const Json& entry, const Evaluate& evaluate, const Blame& blame, const std::string& where) {
  const auto [kind, params] = only_key(entry, {"dense", "moe"}, where);
  const BlockReader reader(*params, evaluate, blame, where + "." + kind);
  if (kind == "dense") return reader.read<DenseParams>();
  return reader.read<MoeParams>();
}

std::optional<EncoderParams> read_encoder(const Facts& facts) {
  const Json& block = facts.family().encoder;
  if (block.is_null()) return std::nullopt;
  const Leaves leaves(facts);
  const BlockReader reader(block, leaves.evaluate, leaves.blame, facts.family().model_type + ".encoder");
  if (!reader.applies()) return std::nullopt;
  auto encoder = reader.read<EncoderParams>();
  encoder.check();
  return encoder;
}

void read_layers(Facts& facts, ModelSpec& model) {
  const std::int64_t layers = facts.size("layers", 1, 10000);
  StackReader(facts, model).read(layers);
}

void drop_idle_patterns(ModelSpec& model) {
  for (auto& kind : model.kinds) {
    for (auto& mixer : kind.mixers) {
      auto* attention = std::get_if<AttentionParams>(&mixer);
      const bool windowed = attention != nullptr && attention->pattern != AttentionPattern{};
      if (!windowed || !attention->pattern.causal || !attention->pattern.covers(model.max_model_len))
        continue;
      model.notes.push_back(
          fmt::format("a {} covers every context: attention is full", attention->pattern.describe()));
      attention->pattern = {};
    }
  }
}

}  // namespace orrery
