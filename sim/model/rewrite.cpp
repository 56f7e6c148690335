#include "model/rewrite.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/layer_import.hpp"
#include "model/rewrite_blocks.hpp"

namespace orrery {
namespace {

/// Blocks that say something about other things than a model.
constexpr std::pair<const char*, const char*> kElsewhere[] = {
    {"device", "it describes hardware: choose it with --gpu"},
    {"decoder", "it describes decoding: --speculative-config"},
    {"expert_plan", "it describes how an engine runs experts"},
};

/// What a block needs a base to have.
constexpr std::pair<const char*, const char*> kNeeds[] = {
    {"attention", "attention that it could change"},   {"latent", "attention with keys and values per head"},
    {"state", "attention that a state could replace"}, {"dense", "dense feed-forwards"},
    {"moe", "feed-forwards that it could change"},
};

bool applies(const ModelSpec& model, const Method& row);

/// "CMP-02..07, SPA-02": ids in order, neighbours of a group joined.
std::string ranges(const std::vector<std::string>& ids) {
  const auto number = [](const std::string& id) { return std::stoi(id.substr(id.find('-') + 1)); };
  std::string out;
  for (std::size_t first = 0; first < ids.size();) {
    std::size_t last = first;
    const std::string group = ids[first].substr(0, ids[first].find('-') + 1);
    while (last + 1 < ids.size() && ids[last + 1].starts_with(group) &&
           number(ids[last + 1]) == number(ids[last]) + 1) {
      ++last;
    }
    out += (out.empty() ? "" : ", ") + ids[first];
    if (last > first) out += ".." + ids[last].substr(group.size());
    first = last + 1;
  }
  return out;
}

/// The rows that do apply: those that change the same things first, else all.
std::string others(const ModelSpec& model, const Method& row) {
  std::vector<std::string> all, alike;
  for (const auto& other : load_methods()) {
    if (other.id == row.id || !applies(model, other)) continue;
    all.push_back(other.id);
    if (other.group() == row.group()) alike.push_back(other.id);
  }
  if (all.empty()) return "no row applies to it";
  return "rows that apply to it: " + ranges(alike.empty() ? all : alike);
}

class Rewriter {
 public:
  Rewriter(const ModelSpec& base, const Method& row) : base_(base), row_(row), blocks_(base, row) {}

  /// Errors: ConfigError saying why it does not apply.
  ModelSpec run() {
    if (const std::string why = why_no_rewrite(row_); !why.empty()) refuse(why);
    read_layout();
    ModelSpec model = base_;
    model.kinds.clear(), model.pattern.clear();
    for (int layer = 0; layer < base_.layers(); ++layer) place(model, layer);
    for (const auto& [block, needs] : kNeeds) {
      if (blocks_.has(block) && touched_.count(block) == 0) {
        refuse(fmt::format("{} has no {}", base_.name, needs));
      }
    }
    if (blocks_.has("compression")) model.native = blocks_.compressed();
    if (blocks_.has("precision")) model.native = blocks_.stored(model.native);
    if (blocks_.has("encoder")) model.encoder = blocks_.encoder();
    model.name = fmt::format("{}+{}", base_.name, row_.id);
    model.published_parameters = model.published_active = 0;
    model.reference.clear();
    model.notes.push_back(fmt::format("{}: {}", row_.id, row_.name));
    drop_idle_patterns(model);
    return model;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw ConfigError(fmt::format("{} cannot be applied: {}", row_.id, why));
  }

  /// Which layers differ: a period after which the same happens again.
  void read_layout() {
    if (!blocks_.has("layers")) return;
    const Json& layers = row_.blocks.at("layers");
    if (layers.is_array()) {
      for (const Json& layer : layers) depths_.push_back(layer.value("depth", 1.0));
      period_ = static_cast<int>(depths_.size());
    } else {
      period_ = layers.value("attention_period", 0);
      attention_offset_ = layers.value("attention_offset", -1);
    }
    if (period_ < 1) refuse("its layers are not a pattern that repeats");
  }

  /// Adds one layer to the kind it equals, or as the first of a new one.
  void place(ModelSpec& model, int layer) {
    const int kind = base_.pattern[static_cast<std::size_t>(layer)];
    const std::pair<int, int> variant{kind, layer % period_};
    auto made = placed_.find(variant);
    if (made == placed_.end()) {
      LayerKind fresh = rewritten(base_.kinds[static_cast<std::size_t>(kind)], layer % period_);
      auto same = std::find_if(model.kinds.begin(), model.kinds.end(),
                               [&](const LayerKind& k) { return k.same_kind(fresh); });
      if (same == model.kinds.end()) same = model.kinds.insert(same, std::move(fresh));
      made = placed_.emplace(variant, static_cast<int>(same - model.kinds.begin())).first;
    }
    ++model.kinds[static_cast<std::size_t>(made->second)].count;
    model.pattern.push_back(made->second);
  }

  LayerKind rewritten(LayerKind kind, int place) {
    kind.count = 0;
    blocks_.at(kind);
    kind.mixers = mixers(kind, place);
    if (blocks_.has("dense") && dense_of(kind) != nullptr) {
      touched_.insert("dense");
      kind.ffn = blocks_.dense(*dense_of(kind));
    }
    if (blocks_.has("moe")) {
      if (auto ffn = blocks_.experts(kind.ffn)) {
        touched_.insert("moe");
        kind.ffn = std::move(*ffn);
      }
    }
    if (!depths_.empty()) kind.depth *= depths_[static_cast<std::size_t>(place)];
    return kind;
  }

  std::vector<Mixer> mixers(const LayerKind& kind, int place) {
    const bool beside = blocks_.has("attention") && !blocks_.has("layers");
    const bool replaced = blocks_.has("state") && !beside && place != attention_offset_;
    std::vector<Mixer> out;
    for (const Mixer& mixer : kind.mixers) {
      if (std::holds_alternative<StateParams>(mixer)) {
        out.push_back(mixer);
        continue;
      }
      if (blocks_.has("state") && (replaced || beside)) {
        // One state takes the place of several attentions side by side.
        if (!holds_state(out)) out.emplace_back(blocks_.state());
        touched_.insert("state");
      }
      if (!replaced) out.push_back(attention(mixer));
    }
    return out;
  }
  static bool holds_state(const std::vector<Mixer>& mixers) {
    return std::any_of(mixers.begin(), mixers.end(),
                       [](const Mixer& m) { return std::holds_alternative<StateParams>(m); });
  }

  Mixer attention(const Mixer& mixer) {
    if (blocks_.has("latent")) {
      if (std::holds_alternative<LatentParams>(mixer)) return mixer;
      touched_.insert("latent");
      return blocks_.latent();
    }
    if (!blocks_.has("attention")) return mixer;
    auto refined = blocks_.refined(mixer);
    if (refined) touched_.insert("attention");
    return refined ? std::move(*refined) : mixer;
  }

  const ModelSpec& base_;
  const Method& row_;
  RowBlocks blocks_;
  int period_ = 1, attention_offset_ = -1;
  std::vector<double> depths_;
  std::map<std::pair<int, int>, int> placed_;  ///< kind of the base and place in the period -> kind
  std::set<std::string> touched_;              ///< blocks that found something to change
};

bool applies(const ModelSpec& model, const Method& row) {
  try {
    Rewriter(model, row).run();
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

}  // namespace

std::string why_no_rewrite(const Method& row) {
  if (!row.no_rewrite.empty()) return row.no_rewrite;
  for (const auto& [block, why] : kElsewhere) {
    if (row.blocks.contains(block)) return why;
  }
  return "";
}

ModelSpec rewrite(ModelSpec model, const Method& row) {
  try {
    return Rewriter(model, row).run();
  } catch (const ConfigError& error) {
    throw ConfigError(error.what(), others(model, row));
  }
}

}  // namespace orrery
