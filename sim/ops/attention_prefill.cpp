#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/attention_call.hpp"
#include "ops/attention_index.hpp"
#include "ops/attention_unfused.hpp"
#include "ops/context_parallel.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Work prefill_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const double queries = dims[1], pairs = dims[2], keys = dims[3];
  const double heads = dims[5], kv_heads = dims[6], dim = dims[7];
  const double element = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 4 * pairs * dim * heads;
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * pairs * heads;
  w.hbm_read_bytes =
      queries * heads * dim * element + keys * 2.0 * kv_heads * dim * kv_bytes_per_element(kv_dtype);
  w.hbm_write_bytes = queries * heads * dim * element;
  return w;
}
}  // namespace

constexpr KernelClass kAttentionPrefill{
    "attention_prefill",
    KernelClass::Scaling::prefill,
    {"seqs", "new_tokens", "pairs", "kv_tokens", "max_kv", "heads", "kv_heads", "head_dim"},
    "causal attention of prompt chunks",
    prefill_work};

Tokens attention_pairs(const PrefillChunk& chunk, Tokens window) {
  const Tokens m = chunk.new_tokens, past = chunk.past;
  const Tokens growing =
      window == 0 ? m : std::clamp<Tokens>(window - past, 0, m);  // queries still below the window
  return growing * past + growing * (growing + 1) / 2 + (m - growing) * window;
}

Tokens attention_keys(const PrefillChunk& chunk, Tokens window) {
  const Tokens all = chunk.past + chunk.new_tokens;
  return window == 0 || chunk.new_tokens == 0 ? all : std::min(all, chunk.new_tokens + window - 1);
}

void PrefillAttention::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double dim = sizes_.mean_dim();
  for (const HeadGroup& group : groups_) {
    // Queries that see what comes after them have as many keys on every rank: each takes its share of them.
    const bool causal = group.pattern.causal;
    const ChunksOnRank chunks(batch, causal ? ctx.shard : Shard{});
    const double ranks = causal ? 1 : ctx.shard.cp;
    double queries = 0, pairs = 0, keys = 0, square = 0, whole = 0, longest = 0, seqs = 0;
    for (const auto& chunk : chunks) {
      if (chunk.new_tokens == 0) continue;
      const double m = static_cast<double>(chunk.new_tokens) / ranks;
      const auto n = static_cast<double>(chunk.past + chunk.new_tokens);
      const auto seen = static_cast<double>(group.pattern.keys(chunk));
      ++seqs;
      queries += m;
      pairs += group.pattern.pairs(chunk) / ranks;
      keys += seen;
      longest = std::max(longest, seen);
      square += m * n, whole += n;
    }
    if (seqs == 0) return;
    const CallHeads local = call_heads(sizes_, group.share, ctx.shard.tp);
    push_prefill_index(group.pattern, {local.heads, local.kv_heads, static_cast<double>(sizes_.head_dim)},
                       batch, ctx, out);
    const DType kv = ctx.precision.kv_cache, activation = ctx.precision.activation;
    if (!ctx.fusion.attention.fused) {
      push_unfused_attention({queries, square, whole, local.heads, local.stored, dim}, activation, kv, out);
      continue;
    }
    push_low_bit_inputs(ctx, queries, local, dim, out);
    const auto attend = [&](KernelCalls& calls, double parts) {
      push_attention(
          kAttentionPrefill,
          {seqs, queries, pairs / parts, keys / parts, longest / parts, local.heads, local.stored, dim}, 7,
          ctx, calls);
    };
    if (exchanges_ && passes_keys(ctx)) {
      const double token = 2 * local.stored * dim * bytes_per_element(activation);
      const auto part = [&](KernelCalls& calls) { attend(calls, ctx.shard.cp); };
      push_ring({token, queries * local.heads, dim}, batch, ctx, part, out);
    } else {
      attend(out, 1);
    }
  }
}

const Registration<KernelClasses> attention_prefill_class{
    "attention_prefill", "causal attention of prompt chunks against cached and new keys", &kAttentionPrefill};

}  // namespace orrery
