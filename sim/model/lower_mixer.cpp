#include <algorithm>
#include <memory>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "ops/attention_index.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/other_parameters.hpp"

namespace orrery {
namespace {

using enum KernelClass::Scaling;

ScaledOperators attention_operators(const AttentionParams& p, std::int64_t hidden_width,
                                    std::span<const KeyCap> caps) {
  const AttentionSizes& sizes = p;
  const UnitGroup hidden{hidden_width, 1}, input{p.input > 0 ? p.input : hidden_width, 1};
  const UnitGroup q{p.heads, p.head_dim}, k{p.kv_heads, p.head_dim}, v{p.kv_heads, p.values()};
  const UnitGroup output{p.heads, p.values()};
  std::vector<UnitGroup> projected{q};
  if (p.gate) projected.push_back(output);
  if (p.owns_kv) projected.push_back(p.tied ? UnitGroup{1, p.kv_width(1)} : k);
  if (p.owns_kv && !p.tied) projected.push_back(v);
  ScaledOperators out;
  const auto add = [&](OperatorPtr op, KernelClass::Scaling scaling = tokens) {
    out.emplace_back(std::move(op), scaling);
  };
  add(std::make_shared<Quantise>(input, false, Producer::norm, Module::mixer));
  add(std::make_shared<Linear>("qkv_proj", std::vector{input}, projected, TensorSplit::columns, p.qkv_bias,
                               Module::mixer));
  if (p.qk_norm || p.qk_norm_whole) add(std::make_shared<QkNorm>(sizes, p.qk_norm_whole));
  add(std::make_shared<RopeKvWrite>(sizes, p.rope, p.owns_kv));
  if (p.sinks) add(std::make_shared<OtherParameters>(p.heads));
  add(std::make_shared<PrefillAttention>(sizes), prefill);
  add(std::make_shared<DecodeAttention>(sizes, caps), decode);
  if (p.gate) add(std::make_shared<Activation>(output.width(), true, Module::mixer));
  add(std::make_shared<Quantise>(output, true, Producer::attention, Module::mixer));
  add(std::make_shared<Linear>("o_proj", std::vector{output}, std::vector{hidden}, TensorSplit::rows,
                               p.output_bias, Module::mixer));
  add(std::make_shared<AllReduce>("attn_all_reduce", hidden_width));
  return out;
}

bool has_indexer(const AttentionPattern& pattern) {
  return pattern.select && pattern.select->index == KeyIndex::indexer;
}

/// The heads an index over latents serves: one row of keys for all of them.
IndexedHeads indexed_heads(const LatentParams& p) {
  return {static_cast<double>(p.sizes.heads), 1, static_cast<double>(p.sizes.latent + p.sizes.rope)};
}

/// The learned index of DeepSeek Sparse Attention (DeepSeek-V3.2, 2025, section 2.1): queries from their
/// latent, one key per token with a LayerNorm, a weight per head; whole on every rank.
void add_indexer(const LatentParams& p, std::int64_t hidden, ScaledOperators& out) {
  const auto& select = *p.pattern.select;
  const auto from = p.sizes.query_latent > 0 ? p.sizes.query_latent : hidden;
  const auto project = [&](std::string_view role, std::int64_t in, std::int64_t width) {
    out.emplace_back(
        std::make_shared<Linear>(role, std::vector{UnitGroup{in, 1}}, std::vector{UnitGroup{1, width}},
                                 TensorSplit::columns, false, Module::mixer),
        tokens);
  };
  project("index_q_proj", from, select.index_heads * select.index_dim);
  project("index_k_proj", hidden, select.index_dim);
  project("index_weights_proj", hidden, select.index_heads);
  out.emplace_back(std::make_shared<OtherParameters>(2 * select.index_dim), tokens);
}

/// Where decode reads one capped context; what chooses it runs before.
ScaledOperators latent_operators(const LatentParams& p, std::int64_t hidden, std::span<const KeyCap> caps) {
  const auto terms = p.pattern.decode_terms();
  const auto kept = p.pattern.resident_terms();
  ORRERY_CHECK(terms.size() == 1 && kept.size() == 1, "latent attention reads and keeps one context");
  const KeyCap cap = terms.front().cap;
  const auto found = std::find(caps.begin(), caps.end(), cap);
  ORRERY_CHECK(cap.tokens == 0 || found != caps.end(), "a mixer's cap is not among the model's");
  ScaledOperators out;
  if (has_indexer(p.pattern)) add_indexer(p, hidden, out);
  if (p.pattern.select) {
    out.emplace_back(std::make_shared<KeyIndexing>(p.pattern, indexed_heads(p), Phase::prefill), prefill);
    out.emplace_back(std::make_shared<KeyIndexing>(p.pattern, indexed_heads(p), Phase::decode), decode);
  }
  for (auto& placed : mla_operators(p.sizes, hidden, cap, static_cast<std::size_t>(found - caps.begin()),
                                    kept.front().cap)) {
    out.push_back(std::move(placed));
  }
  return out;
}

}  // namespace

ScaledOperators mixer_operators(const Mixer& mixer, std::int64_t hidden, std::span<const KeyCap> caps) {
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) return attention_operators(*a, hidden, caps);
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return latent_operators(*l, hidden, caps);
  return state_operators(std::get<StateParams>(mixer), hidden);
}

std::vector<KeyTerm> decode_terms(const Mixer& mixer) {
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) return a->decode_terms();
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return l->pattern.decode_terms();
  return {};
}

std::vector<KvGroup> kept_by(const Mixer& mixer, std::int64_t hidden, const LoweringContext& ctx) {
  std::vector<KvGroup> kept;
  const auto keep = [&](const std::vector<KeyTerm>& terms, double bytes, double index_bytes) {
    for (const KeyTerm& term : terms) kept.push_back({term, bytes, 0, 1});
    if (index_bytes > 0) kept.push_back({{}, index_bytes, 0, 0});
  };
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) {
    if (a->owns_kv) keep(a->resident_terms(), a->kv_bytes_per_token(ctx), a->index_bytes_per_token(ctx));
  } else if (const auto* l = std::get_if<LatentParams>(&mixer)) {
    const double index = l->pattern.select ? index_bytes_per_token(l->pattern, indexed_heads(*l), ctx) : 0;
    keep(l->pattern.resident_terms(), l->sizes.kv_bytes_per_token(ctx), index);
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
