#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Work prefill_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const double queries = dims[1], pairs = dims[2], keys = dims[3];
  const double heads = dims[5], kv_heads = dims[6], dim = dims[7], element = bytes_per_element(dtype);
  Work w;
  w.tensor_flops = 4 * pairs * dim * heads;
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * pairs * heads;
  w.hbm_read_bytes =
      queries * heads * dim * element + keys * 2.0 * kv_heads * dim * bytes_per_element(kv_dtype);
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
  Tokens queries = 0, pairs = 0, keys = 0, longest = 0, seqs = 0;
  for (const auto& chunk : batch.chunks) {
    if (chunk.new_tokens == 0) continue;
    const Tokens seen = attention_keys(chunk, sizes_.window);
    ++seqs;
    queries += chunk.new_tokens;
    pairs += attention_pairs(chunk, sizes_.window);
    keys += seen;
    longest = std::max(longest, seen);
  }
  if (seqs == 0) return;
  const auto heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  const auto kv_heads = static_cast<double>(sizes_.local_kv_heads(ctx.shard.tp));
  const auto dim = static_cast<double>(sizes_.head_dim);
  const auto q = static_cast<double>(queries), p = static_cast<double>(pairs), kv = static_cast<double>(keys);
  KernelCall& call = out.emplace_back();  // in place: this runs once per step
  call.cls = &kAttentionPrefill;
  call.dims = {static_cast<double>(seqs), q, p, kv, static_cast<double>(longest), heads, kv_heads, dim};
  call.dtype = ctx.precision.activation;
  call.weight_dtype = ctx.precision.kv_cache;
  call.role = "attention";
  call.work = prefill_work(call.dims, call.dtype, call.weight_dtype);
}

const Registration<KernelClasses> attention_prefill_class{
    "attention_prefill", "causal attention of prompt chunks against cached and new keys", &kAttentionPrefill};

}  // namespace orrery
