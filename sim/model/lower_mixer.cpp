#include <algorithm>
#include <memory>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "ops/attention.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"

namespace orrery {
namespace {

using enum KernelClass::Scaling;

AttentionSizes sizes_of(const AttentionParams& p) {
  return {p.heads, p.kv_heads, p.head_dim, p.pattern.window};
}

std::size_t cap_index(std::span<const KeyCap> caps, const KeyCap& cap) {
  const auto found = std::find(caps.begin(), caps.end(), cap);
  ORRERY_CHECK(cap.tokens == 0 || found != caps.end(), "a mixer's cap is not among the model's");
  return static_cast<std::size_t>(found - caps.begin());
}

ScaledOperators attention_operators(const AttentionParams& p, std::int64_t hidden_width,
                                    std::span<const KeyCap> caps) {
  const auto sizes = sizes_of(p);
  const UnitGroup hidden{hidden_width, 1}, input{p.input > 0 ? p.input : hidden_width, 1};
  const auto value_dim = p.value_dim > 0 ? p.value_dim : p.head_dim;
  const UnitGroup q{p.heads, p.head_dim}, k{p.kv_heads, p.head_dim}, v{p.kv_heads, value_dim};
  const UnitGroup output{p.heads, value_dim};
  std::vector<UnitGroup> projected{q};
  if (p.gate) projected.push_back(output);
  if (p.owns_kv) projected.push_back(k);
  if (p.owns_kv && !p.tied) projected.push_back(v);
  ScaledOperators out;
  const auto add = [&](OperatorPtr op, KernelClass::Scaling scaling = tokens) {
    out.emplace_back(std::move(op), scaling);
  };
  add(std::make_shared<Linear>("qkv_proj", std::vector{input}, projected, TensorSplit::columns, p.qkv_bias));
  if (p.qk_norm) add(std::make_shared<QkNorm>(sizes));
  add(std::make_shared<RopeKvWrite>(sizes));
  add(std::make_shared<PrefillAttention>(sizes), prefill);
  add(std::make_shared<DecodeAttention>(sizes, cap_index(caps, p.pattern.window)), decode);
  add(std::make_shared<Quantise>(output, true, Producer::attention));
  add(std::make_shared<Linear>("o_proj", std::vector{output}, std::vector{hidden}, TensorSplit::rows,
                               p.output_bias));
  add(std::make_shared<AllReduce>("attn_all_reduce", hidden_width));
  return out;
}

/// Where decode reads one capped context; several terms become one operator each.
ScaledOperators latent_operators(const LatentParams& p, std::int64_t hidden, std::span<const KeyCap> caps) {
  const auto terms = p.pattern.decode_terms();
  ORRERY_CHECK(terms.size() == 1, "latent attention reads one context");
  const KeyCap cap = terms.front().cap;
  const auto kept = p.pattern.resident_terms();
  return mla_operators(p.sizes, hidden, cap, cap_index(caps, cap), kept.front().cap);
}

}  // namespace

ScaledOperators mixer_operators(const Mixer& mixer, std::int64_t hidden, std::span<const KeyCap> caps) {
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) return attention_operators(*a, hidden, caps);
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return latent_operators(*l, hidden, caps);
  return state_operators(std::get<StateParams>(mixer), hidden);
}

std::vector<KeyTerm> decode_terms(const Mixer& mixer) {
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) return a->pattern.decode_terms();
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return l->pattern.decode_terms();
  return {};
}

std::vector<KvGroup> kept_by(const Mixer& mixer, std::int64_t hidden, const LoweringContext& ctx) {
  std::vector<KvGroup> kept;
  const auto keep = [&](const AttentionPattern& pattern, double bytes) {
    for (const KeyTerm& term : pattern.resident_terms()) kept.push_back({term, bytes, 0, 1});
  };
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) {
    if (a->owns_kv) keep(a->pattern, sizes_of(*a).kv_bytes_per_token(ctx));
  } else if (const auto* l = std::get_if<LatentParams>(&mixer)) {
    keep(l->pattern, l->sizes.kv_bytes_per_token(ctx));
  } else {
    double bytes = 0;
    for (const auto& [op, scaling] : mixer_operators(mixer, hidden, {})) bytes += op->state_bytes(1, ctx);
    kept.push_back({{}, 0, bytes, 1});
  }
  return kept;
}

bool divides(const Mixer& mixer, const Shard& shard) {
  const auto whole = [&](std::int64_t units) { return units % shard.tp == 0; };
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) {
    return whole(a->heads) && (whole(a->kv_heads) || shard.tp % a->kv_heads == 0);
  }
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return whole(l->sizes.heads);
  return whole(std::get<StateParams>(mixer).units());
}

}  // namespace orrery
