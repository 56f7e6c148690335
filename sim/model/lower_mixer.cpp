#include <algorithm>
#include <bit>
#include <memory>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "ops/attention_index.hpp"
#include "ops/chosen_tokens.hpp"
#include "ops/collective.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/other_parameters.hpp"

namespace orrery {
namespace {

using enum KernelClass::Scaling;

using Placed = ScaledOperators::value_type;

Placed placed(OperatorPtr op, KernelClass::Scaling scaling = tokens) {
  return {std::move(op), scaling};
}
Placed linear(std::string_view role, std::vector<UnitGroup> in, std::vector<UnitGroup> out, TensorSplit split,
              bool bias, Module module = Module::mixer) {
  return placed(std::make_shared<Linear>(role, std::move(in), std::move(out), split, bias, module));
}

/// Queries, keys and values from the input: one matrix, or queries through a latent of their own.
void add_projections(const AttentionParams& p, const UnitGroup& input, ScaledOperators& out) {
  const UnitGroup q{p.heads, p.head_dim}, k{p.kv_heads, p.head_dim}, v{p.kv_heads, p.values()};
  std::vector<UnitGroup> queries{q}, keys;
  if (p.gate) queries.push_back({p.heads, p.values()});
  if (p.owns_kv) keys.push_back(p.tied ? UnitGroup{1, p.kv_width(1)} : k);
  if (p.owns_kv && !p.tied && !p.value_from_key) keys.push_back(v);
  if (p.query_latent == 0) {
    queries.insert(queries.end(), keys.begin(), keys.end());
    out.push_back(linear("qkv_proj", {input}, queries, TensorSplit::columns, p.qkv_bias));
    return;
  }
  const UnitGroup latent{1, p.query_latent};
  keys.insert(keys.begin(), latent);
  out.push_back(linear("qkv_a_proj", {input}, keys, TensorSplit::columns, p.qkv_bias));
  out.push_back(placed(std::make_shared<RmsNorm>("q_a_norm", p.query_latent, false, true)));
  out.push_back(linear("q_b_proj", {latent}, queries, TensorSplit::columns, p.qkv_bias));
}

/// What makes summaries and chooses among keys, before the attention that uses them.
void add_index(const AttentionParams& p, std::int64_t input, ScaledOperators& out) {
  const auto append = [&](ScaledOperators parts) {
    for (auto& part : parts) out.push_back(std::move(part));
  };
  const auto& summaries = p.pattern.summaries;
  const bool gated = summaries && summaries->form == SummaryForm::gated;
  if (gated) append(summary_projections(*summaries, input, p.head_dim));
  if (!p.pattern.select || p.pattern.select->index != KeyIndex::indexer) return;
  append(index_projections(*p.pattern.select, input, p.query_latent));
  if (gated && p.pattern.select->summaries) {
    append(summary_projections(*summaries, input, p.pattern.select->index_dim));
  }
}

/// The heads' outputs to the hidden width: one matrix, or groups of heads through a latent each.
void add_output(const AttentionParams& p, const UnitGroup& hidden, ScaledOperators& out) {
  const UnitGroup heads{p.heads, p.values()};
  out.push_back(placed(std::make_shared<Quantise>(heads, true, Producer::attention, Module::mixer_output)));
  if (p.output_groups == 0) {
    out.push_back(
        linear("o_proj", {heads}, {hidden}, TensorSplit::rows, p.output_bias, Module::mixer_output));
    return;
  }
  // Block-diagonal: each group's columns meet its own heads alone.
  const UnitGroup group{1, heads.width() / p.output_groups}, latents{p.output_groups, p.output_latent};
  out.push_back(linear("o_a_proj", {group}, {latents}, TensorSplit::columns, false, Module::mixer_output));
  out.push_back(
      linear("o_b_proj", {latents}, {hidden}, TensorSplit::rows, p.output_bias, Module::mixer_output));
}

/// Attention of prompts and decode set, and what moves between ranks that divide a sequence's tokens.
void add_attention(const AttentionParams& p, std::span<const KeyCap> caps, ScaledOperators& out) {
  const AttentionSizes& sizes = p;
  const UnitGroup queries{p.heads, p.head_dim}, outputs{p.heads, p.values()};
  if (p.owns_kv) {
    const std::vector<UnitGroup> keys =
        p.tied ? std::vector<UnitGroup>{{p.kv_heads, std::max(p.head_dim, p.values())}, {1, p.tied_rope}}
               : std::vector<UnitGroup>{{p.kv_heads, p.head_dim}, {p.kv_heads, p.values()}};
    const Tokens needed = keys_needed(p.decode_terms(), p.resident_terms());
    out.push_back(placed(std::make_shared<KeyExchange>("key_exchange", keys, 0, needed, true), prefill));
  }
  const auto over_cache = [&](OperatorPtr attention, Phase phase, KernelClass::Scaling scaling) {
    out.push_back(placed(std::make_shared<QueryGather>(queries, phase), scaling));
    out.push_back(placed(std::move(attention), scaling));
    out.push_back(placed(std::make_shared<PartialOutputs>(outputs, phase), scaling));
  };
  over_cache(std::make_shared<PrefillAttention>(sizes, p.owns_kv), Phase::prefill, prefill);
  over_cache(std::make_shared<DecodeAttention>(sizes, caps), Phase::decode, decode);
}

/// Where each head chooses its tokens, they alone are projected: parts `first` to the last run on them.
void run_on_chosen(const AttentionParams& p, std::size_t first, ScaledOperators& out) {
  const auto& select = p.pattern.select;
  if (!select || select->index != KeyIndex::router || !select->queries) return;
  ScaledOperators parts(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
  out.resize(first);
  for (const auto& [op, scaling] : parts) {
    out.push_back(placed(std::make_shared<ChosenTokens>(op, *select, Phase::prefill), prefill));
    out.push_back(placed(std::make_shared<ChosenTokens>(op, *select, Phase::decode), decode));
  }
}

ScaledOperators attention_operators(const AttentionParams& p, std::int64_t hidden_width,
                                    std::span<const KeyCap> caps) {
  const AttentionSizes& sizes = p;
  const UnitGroup hidden{hidden_width, 1}, input{p.input > 0 ? p.input : hidden_width, 1};
  ScaledOperators out;
  out.push_back(placed(std::make_shared<Quantise>(input, false, Producer::norm, Module::mixer)));
  add_projections(p, input, out);
  run_on_chosen(p, out.size() - 1, out);
  if (p.qk_norm || p.qk_norm_whole) out.push_back(placed(std::make_shared<QkNorm>(sizes, p.qk_norm_whole)));
  out.push_back(placed(std::make_shared<RopeKvWrite>(sizes, p.rope, p.owns_kv)));
  add_index(p, input.width(), out);
  if (p.sinks) out.push_back(placed(std::make_shared<OtherParameters>(p.heads)));
  add_attention(p, caps, out);
  if (p.gate) {
    out.push_back(placed(std::make_shared<Activation>(p.heads * p.values(), true, Module::mixer_output)));
  }
  const std::size_t output = out.size();
  add_output(p, hidden, out);
  run_on_chosen(p, output, out);
  out.push_back(placed(std::make_shared<AllReduce>("attn_all_reduce", hidden_width)));
  return out;
}

/// The heads an index over latents serves: one row of keys for all of them.
IndexedHeads indexed_heads(const LatentParams& p) {
  return {static_cast<double>(p.sizes.heads), 1, static_cast<double>(p.sizes.latent + p.sizes.rope)};
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
  if (p.pattern.select && p.pattern.select->index == KeyIndex::indexer) {
    out = index_operators(*p.pattern.select, hidden, p.sizes.query_latent);
  } else if (p.pattern.select) {
    out.push_back(
        placed(std::make_shared<KeyIndexing>(p.pattern, indexed_heads(p), Phase::prefill), prefill));
    out.push_back(placed(std::make_shared<KeyIndexing>(p.pattern, indexed_heads(p), Phase::decode), decode));
  }
  const double index = p.pattern.select ? index_bytes_per_token(p.pattern, indexed_heads(p), {}) : 0;
  for (auto& part : mla_operators(p.sizes, hidden, cap, static_cast<std::size_t>(found - caps.begin()),
                                  kept.front().cap, index)) {
    out.push_back(std::move(part));
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

namespace {
/// The length up to `longest` at which most states are alive: a state per bit set in the number of chunks
/// (Guo et al., Log-Linear Attention, 2025, section 3.1).
Tokens fullest(const StateParams& p, Tokens longest) {
  if (!p.levels) return 1;
  const auto chunks = static_cast<std::uint64_t>(std::max<Tokens>(longest, 1) / p.chunk);
  return std::max<Tokens>(1, static_cast<Tokens>(std::bit_floor(chunks + 1) - 1) * p.chunk);
}

/// States and the inputs of convolutions are of fixed size; a filter without a recurrent form keeps its
/// inputs whole.
void keep_states(const StateParams& p, std::int64_t hidden, Tokens longest, const LoweringContext& ctx,
                 std::vector<KvGroup>& kept) {
  const auto operators = state_operators(p, hidden);
  const auto bytes = [&](Tokens n) {
    double sum = 0;
    for (const auto& [op, scaling] : operators) sum += op->state_bytes(n, ctx);
    return sum;
  };
  const bool grows = p.rule == StateRule::lti && p.state == 0;
  const double each = grows ? bytes(2) - bytes(1) : 0;
  if (grows) kept.push_back({{}, each, 0, 1});
  const double fixed = bytes(fullest(p, longest)) - each;
  if (!grows || fixed > 0) kept.push_back({{}, 0, fixed, grows ? 0 : 1});
}
}  // namespace

std::vector<KvGroup> kept_by(const Mixer& mixer, std::int64_t hidden, Tokens longest,
                             const LoweringContext& ctx) {
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
    keep_states(std::get<StateParams>(mixer), hidden, longest, ctx, kept);
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

int cache_copies(const Mixer& mixer, int tp) {
  const auto copies = [&](std::int64_t units) {
    return static_cast<int>(tp / std::min<std::int64_t>(units, tp));
  };
  if (const auto* a = std::get_if<AttentionParams>(&mixer)) return copies(a->kv_heads);
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return copies(l->sizes.groups);
  return 0;
}

bool chooses_keys(const Mixer& mixer) {
  if (const auto* l = std::get_if<LatentParams>(&mixer)) return l->pattern.select.has_value();
  const auto* a = std::get_if<AttentionParams>(&mixer);
  if (a == nullptr) return false;
  const auto groups = a->groups();
  return std::any_of(groups.begin(), groups.end(),
                     [](const HeadGroup& g) { return g.pattern.select.has_value(); });
}

}  // namespace orrery
