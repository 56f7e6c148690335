#pragma once

#include "ops/linear.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// Sizes of a multi-head, multi-query or grouped-query attention (Ainslie et al., GQA, 2023), over the whole
/// model.
struct AttentionSizes {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  Tokens window = 0;  ///< keys a query may see, itself included; 0 = all

  std::int64_t local_heads(int ranks) const { return UnitGroup{heads}.local_units(ranks); }
  std::int64_t local_kv_heads(int ranks) const { return UnitGroup{kv_heads}.local_units(ranks); }
  /// Bytes of K and V of one token in one layer on one rank.
  double kv_bytes_per_token(const LoweringContext& ctx) const {
    return 2.0 * static_cast<double>(local_kv_heads(ctx.shard.tp) * head_dim) *
           bytes_per_element(ctx.precision.kv_cache);
  }
};

/// Query-key pairs of `chunk.new_tokens` causal queries after `chunk.past` cached tokens: the i-th of them
/// (from 1) sees min(past + i, window) keys. window 0 = all.
Tokens attention_pairs(const PrefillChunk& chunk, Tokens window);

/// Distinct keys those queries see: all past + new of them, or with a window the new ones and the window - 1
/// before.
Tokens attention_keys(const PrefillChunk& chunk, Tokens window);

/// Causal attention of the step's prompt chunks in one variable-length launch (FlashAttention; Dao et al.,
/// 2022 and 2023). FLOPs: 4 head_dim per head and pair (Q K^T and P V), on the matrix units; softmax 5 per
/// head and pair (scale and subtract the maximum, compare, exponential, sum) on the ordinary ones. Bytes: Q,
/// K, V read once, O written once.
class PrefillAttention final : public Operator {
 public:
  explicit PrefillAttention(AttentionSizes sizes) : sizes_(sizes) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  AttentionSizes sizes_;
};

/// One query per sequence of the decode set against its paged KV cache (Kwon et al., vLLM, 2023; split over
/// the keys as in Flash-Decoding). FLOPs and bytes as PrefillAttention, with one query per sequence. It also
/// owns the KV cache: state_bytes.
class DecodeAttention final : public Operator {
 public:
  /// `window_index`: which of BatchShape::windowed_context sums the keys read; ignored when sizes.window is
  /// 0.
  DecodeAttention(AttentionSizes sizes, std::size_t window_index)
      : sizes_(sizes), window_index_(window_index) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double state_bytes(Tokens context, const LoweringContext& ctx) const override;

 private:
  AttentionSizes sizes_;
  std::size_t window_index_;
};

}  // namespace orrery
