#pragma once

#include <span>
#include <vector>

#include "ops/attention_pattern.hpp"
#include "ops/linear.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// Sizes of a multi-head, multi-query or grouped-query attention (Ainslie et al., GQA, 2023), over the whole
/// model, and which keys its queries see.
struct AttentionSizes {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  AttentionPattern pattern{};  ///< of all heads, unless `mix` has entries
  std::int64_t value_dim = 0;  ///< 0 = head_dim
  bool tied = false;           ///< one row serves as K and V (grouped-tied attention; Zadouri et al., 2025)
  std::int64_t tied_rope = 0;  ///< ... beside a rotated part of this width, one for all heads
  std::int64_t active_heads = 0;  ///< query heads a token is routed to (MoH; Jin et al., 2024); 0 = all
  std::vector<HeadGroup> mix{};   ///< heads of several patterns

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("heads", p.heads), v("kv_heads", p.kv_heads), v("head_dim", p.head_dim), v("pattern", p.pattern);
    v("value_dim", p.value_dim), v("tied", p.tied), v("tied_rope", p.tied_rope);
    v("active_heads", p.active_heads), v("mix", p.mix);
  }
  bool operator==(const AttentionSizes&) const = default;
  /// Errors: ConfigError naming `where` and the field (heads that KV heads do not divide, more active heads
  /// than there are, shares of a mix that come to less than all heads, a pattern's own).
  void check(const std::string& where) const;

  std::int64_t local_heads(int ranks) const { return UnitGroup{heads}.local_units(ranks); }
  std::int64_t local_kv_heads(int ranks) const { return UnitGroup{kv_heads}.local_units(ranks); }
  std::int64_t values() const { return value_dim > 0 ? value_dim : head_dim; }
  /// The width that head_dim of the kernel classes means: FLOPs and KV bytes are linear in keys' plus
  /// values'.
  double mean_dim() const { return static_cast<double>(head_dim + values()) / 2; }
  /// Elements of K and V of one token in one layer on one rank; heads are replicated when ranks outnumber
  /// them.
  std::int64_t kv_width(int ranks) const {
    const std::int64_t local = local_kv_heads(ranks);
    return tied ? local * std::max(head_dim, values()) + tied_rope : local * (head_dim + values());
  }
  /// Bytes of K and V of one token in one layer on one rank; on the mean of the ranks where
  /// decode-context ranks share out the tokens.
  double kv_bytes_per_token(const LoweringContext& ctx) const {
    return static_cast<double>(kv_width(ctx.shard.tp)) * kv_bytes_per_element(ctx.precision.kv_cache) /
           ctx.shard.dcp;
  }
  /// Bytes beside K and V that choosing keys keeps of one token, in the same place.
  double index_bytes_per_token(const LoweringContext& ctx) const;

  /// `mix`, or all heads with `pattern`.
  std::vector<HeadGroup> groups() const;
  /// What decode reads and what stays in the cache, over all heads: shares of kv_bytes_per_token.
  std::vector<KeyTerm> decode_terms() const;
  std::vector<KeyTerm> resident_terms() const;
};

/// Query-key pairs of `chunk.new_tokens` causal queries after `chunk.past` cached tokens: the i-th of them
/// (from 1) sees min(past + i, window) keys. window 0 = all.
Tokens attention_pairs(const PrefillChunk& chunk, Tokens window);

/// Distinct keys those queries see: all past + new of them, or with a window the new ones and the window - 1
/// before.
Tokens attention_keys(const PrefillChunk& chunk, Tokens window);

/// Attention of the step's prompt chunks in one variable-length launch per group of heads (FlashAttention;
/// Dao et al., 2022 and 2023), after what it takes to choose the keys (attention_index.hpp). FLOPs: 4
/// head_dim per head and pair (Q K^T and P V), on the matrix units; softmax 5 per head and pair (scale and
/// subtract the maximum, compare, exponential, sum) on the ordinary ones. Bytes: Q, K, V read once, O written
/// once.
class PrefillAttention final : public Operator {
 public:
  /// `exchanges`: it gets the keys of other ranks itself where a plan passes them round a ring; else they
  /// are in its cache.
  explicit PrefillAttention(AttentionSizes sizes, bool exchanges = true)
      : sizes_(std::move(sizes)), groups_(sizes_.groups()), exchanges_(exchanges) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  AttentionSizes sizes_;
  std::vector<HeadGroup> groups_;
  bool exchanges_;
};

/// The decode set's queries against their paged KV cache (Kwon et al., vLLM, 2023; split over the keys as in
/// Flash-Decoding), one call per group of heads and kind of context read, after what it takes to choose the
/// keys. FLOPs and bytes as PrefillAttention; with several queries per sequence (BatchShape::decode_queries)
/// its keys are read once for all of them, as one larger group of heads. It also owns the KV cache:
/// state_bytes.
class DecodeAttention final : public Operator {
 public:
  /// `caps`: the model's, in the order of BatchShape::windowed_context; it must hold those of the pattern.
  DecodeAttention(AttentionSizes sizes, std::span<const KeyCap> caps);
  /// For a pattern with one cap at most: `cap_index` of it.
  DecodeAttention(AttentionSizes sizes, std::size_t cap_index);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double state_bytes(Tokens context, const LoweringContext& ctx) const override;

 private:
  /// share times the whole context (index -1), or the capped one of that index.
  struct Reading {
    double share;
    int index;
    double of(const BatchShape& batch) const;
  };
  struct Group {
    HeadGroup heads;
    std::vector<Reading> readings;
  };
  template <class IndexOf>
  void resolve(const IndexOf& index_of);
  void push(const Group& group, const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const;

  AttentionSizes sizes_;
  std::vector<Group> groups_;
};

}  // namespace orrery
