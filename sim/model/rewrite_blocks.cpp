#include "model/rewrite_blocks.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/block_reader.hpp"

namespace orrery {
namespace {

bool sees_all(const Mixer& mixer) {
  if (const auto* a = std::get_if<AttentionParams>(&mixer))
    return a->mix.empty() && a->pattern == AttentionPattern{};
  const auto* l = std::get_if<LatentParams>(&mixer);
  return l != nullptr && l->pattern == AttentionPattern{};
}

bool looks_ahead(const AttentionPattern& pattern) {
  AttentionPattern both_ways;
  both_ways.causal = false;
  return !pattern.causal && pattern != both_ways;
}

/// The format with a row's fields over it. A row that says how weights are stored says all of that; what
/// sparsity, rank and adapters the format had stays.
LinearFormat merged(LinearFormat from, const Json& given, DType activation, const std::string& where) {
  if (given.contains("weight")) {
    from.weight = from.compute = activation;
    from.bits = from.outliers = 0;
    from.scales.reset();
  }
  Json params = describe_block(from);
  for (const auto& [key, value] : given.items()) params[key] = value;
  if (!params.contains("compute")) params["compute"] = std::string(name(from.compute));
  auto format = read_block<LinearFormat>(params, where);
  format.check();
  return format;
}

constexpr std::array<std::string_view, kModules> kModuleNames{"mixer", "ffn", "experts", "mixer_output"};

}  // namespace

RowBlocks::RowBlocks(const ModelSpec& base, const Method& row) : base_(base), row_(row) {
  for (const auto& kind : base.kinds) {
    any_full_ |= std::any_of(kind.mixers.begin(), kind.mixers.end(), sees_all);
    any_experts_ |= std::holds_alternative<MoeParams>(kind.ffn);
  }
}

bool RowBlocks::has(const std::string& block) const {
  if (!row_.written.contains(block)) return false;
  return row_.rewrites.empty() ||
         std::find(row_.rewrites.begin(), row_.rewrites.end(), block) != row_.rewrites.end();
}

Json RowBlocks::size(std::string_view name) const {
  if (name == "hidden") return base_.hidden;
  if (name == "vocab") return base_.vocab;
  if (name == "layers") return base_.layers();
  for (const Mixer& mixer : kind_ != nullptr ? kind_->mixers : std::vector<Mixer>{}) {
    const auto* a = std::get_if<AttentionParams>(&mixer);
    const auto* l = std::get_if<LatentParams>(&mixer);
    if (a == nullptr && l == nullptr) continue;
    if (name == "heads") return a != nullptr ? a->heads : l->sizes.heads;
    if (name == "kv_heads") return a != nullptr ? a->kv_heads : l->sizes.heads;
    if (name == "head_dim") return a != nullptr ? a->head_dim : l->sizes.value;
  }
  if (name == "width" && kind_ != nullptr && dense_of(*kind_) != nullptr) return dense_of(*kind_)->width;
  throw ConfigError(fmt::format("{} needs '{}', and a layer of {} has none", row_.id, name, base_.name));
}

Json RowBlocks::values(const std::string& block) const {
  return evaluate_blocks(row_.written.at(block), [this](std::string_view name) { return size(name); });
}

bool RowBlocks::merge(const std::string& block, std::initializer_list<const char*> own, Json& params) const {
  const Json& written = row_.written.at(block);
  const auto kept = [&](const std::string& key) {
    const Json& value = written.at(key);
    const bool expression = value.is_string() && value.get_ref<const std::string&>().starts_with('=');
    return !expression && std::find(own.begin(), own.end(), key) != own.end();
  };
  bool any = false;
  for (const auto& [key, value] : written.items()) {
    if (kept(key)) continue;
    params[key] = evaluate_blocks(value, [this](std::string_view name) { return size(name); });
    any = true;
  }
  return any;
}

std::optional<Mixer> RowBlocks::refined(const Mixer& mixer) const {
  const Json& written = row_.written.at("attention");
  const bool patterns = written.contains("pattern") || written.contains("mix");
  if (patterns && any_full_ && !sees_all(mixer)) return std::nullopt;
  const auto* base = std::get_if<AttentionParams>(&mixer);
  const auto* latent = std::get_if<LatentParams>(&mixer);
  Json params = base != nullptr ? describe_block(*base) : describe_block(*latent);
  const Json before = params;
  if (patterns) params.erase("pattern"), params.erase("mix");
  const auto own = {"heads", "kv_heads", "head_dim", "value_dim", "qkv_bias", "output_bias", "rope"};
  if (!merge("attention", own, params) || params == before) return std::nullopt;
  const bool causal = base != nullptr ? base->pattern.causal : latent->pattern.causal;
  if (!causal && params.contains("pattern")) params["pattern"]["causal"] = false;
  const auto check = [&](const AttentionPattern& pattern) {
    if (causal && looks_ahead(pattern)) {
      throw ConfigError(
          fmt::format("{} cannot be applied: its pattern sees later tokens, and {} generates token by token",
                      row_.id, base_.name));
    }
    pattern.check(where("attention"));
  };
  if (base != nullptr) {
    auto out = read_block<AttentionParams>(params, where("attention"));
    for (const auto& group : out.groups()) check(group.pattern);
    out.check(where("attention"));
    return out;
  }
  if (!patterns || written.contains("mix")) return std::nullopt;
  LatentParams out = *latent;
  out.pattern = read_block<AttentionPattern>(params.at("pattern"), where("attention.pattern"));
  check(out.pattern);
  if (out.pattern.decode_terms().size() != 1 || out.pattern.resident_terms().size() != 1) {
    throw ConfigError(fmt::format(
        "{} cannot be applied: latent attention reads one stretch of the context, and its pattern several",
        row_.id));
  }
  return out;
}

Mixer RowBlocks::latent() const {
  const auto out = read_block<LatentParams>(values("latent"), where("latent"));
  out.sizes.check();
  return out;
}

Mixer RowBlocks::state() const {
  const auto out = read_block<StateParams>(values("state"), where("state"));
  out.check();
  return out;
}

DenseParams RowBlocks::dense(const DenseParams& from) const {
  Json params = describe_block(from);
  merge("dense", {"width", "gated", "bias"}, params);
  return read_block<DenseParams>(params, where("dense"));
}

std::optional<Ffn> RowBlocks::experts(const Ffn& from) const {
  Json params = Json::object();
  if (const auto* moe = std::get_if<MoeParams>(&from)) {
    params = describe_block(*moe);
    const auto own = {"experts",     "active",      "width",          "gated",
                      "bias",        "latent",      "shared_experts", "shared_width",
                      "shared_gate", "router_bias", "groups",         "topk_groups"};
    const Json& written = row_.written.at("moe");
    const bool only_sizes = std::all_of(
        written.items().begin(), written.items().end(),
        [&](const auto& item) { return std::find(own.begin(), own.end(), item.key()) != own.end(); });
    if (only_sizes) {
      throw ConfigError(fmt::format(
          "{} cannot be applied: it makes experts of dense feed-forwards, and {} has experts already",
          row_.id, base_.name));
    }
    for (const auto& [key, value] : written.items()) {
      if (std::find(own.begin(), own.end(), key) == own.end()) params[key] = value;
    }
  } else if (const auto* dense = std::get_if<DenseParams>(&from); dense != nullptr && !any_experts_) {
    merge("moe", {"gated", "bias"}, params);
    params["gated"] = dense->gated, params["bias"] = dense->bias;
  } else {
    return std::nullopt;
  }
  auto out = read_block<MoeParams>(params, where("moe"));
  out.check();
  return out;
}

Precision RowBlocks::compressed() const {
  Precision out = base_.native;
  const Json given = values("compression");
  std::array<LinearFormat, kModules> formats;
  for (std::size_t m = 0; m < kModules; ++m) {
    formats[m] = merged(out.linear(static_cast<Module>(m)), given, out.activation, where("compression"));
  }
  const bool alike =
      std::all_of(formats.begin(), formats.end(), [&](const auto& f) { return f == formats[0]; });
  if (alike) {
    out.set_linear(formats[0]);
    return out;
  }
  for (std::size_t m = 0; m < kModules; ++m) out.of(static_cast<Module>(m)) = formats[m];
  return out;
}

Precision RowBlocks::stored(const Precision& formats) const {
  Json params = describe_block(formats);
  const Json given = values("precision");
  for (const auto& [key, value] : given.items()) {
    const auto module = std::find(kModuleNames.begin(), kModuleNames.end(), key);
    params[key] =
        module == kModuleNames.end()
            ? value
            : describe_block(merged(formats.linear(static_cast<Module>(module - kModuleNames.begin())), value,
                                    formats.activation, where("precision." + key)));
  }
  return read_block<Precision>(params, where("precision"));
}

EncoderParams RowBlocks::encoder() const {
  auto out = read_block<EncoderParams>(values("encoder"), where("encoder"));
  out.check();
  if (out.projector.empty() || out.projector.back().out != base_.hidden) {
    throw ConfigError(fmt::format("{} cannot be applied: its encoder hands no tokens of width {} to {}",
                                  row_.id, base_.hidden, base_.name));
  }
  return out;
}

}  // namespace orrery
