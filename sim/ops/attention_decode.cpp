#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

constexpr KernelClass kAttentionDecode{"attention_decode",
                                       KernelClass::Scaling::decode,
                                       {"seqs", "context", "heads", "kv_heads", "head_dim"},
                                       "one query per sequence against paged KV"};

void DecodeAttention::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.decode_seqs == 0) return;
  ORRERY_CHECK(sizes_.window == 0 || window_index_ < batch.windowed_context.size(),
               "the batch carries no windowed context for a windowed attention");
  const Tokens read = sizes_.window == 0 ? batch.decode_context : batch.windowed_context[window_index_];
  const auto heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  const auto kv_heads = static_cast<double>(sizes_.local_kv_heads(ctx.shard.tp));
  const auto dim = static_cast<double>(sizes_.head_dim);
  const double query_bytes =
      static_cast<double>(batch.decode_seqs) * heads * dim * bytes_per_element(ctx.precision.activation);
  const auto seqs = static_cast<double>(batch.decode_seqs), keys = static_cast<double>(read);
  KernelCall call;
  call.cls = &kAttentionDecode;
  call.dims = {seqs, keys, heads, kv_heads, dim};
  call.dtype = ctx.precision.activation;
  call.weight_dtype = ctx.precision.kv_cache;
  call.role = "attention";
  call.work.tensor_flops = 4 * keys * dim * heads;
  call.work.tensor_dtype = ctx.precision.activation;
  call.work.vector_flops = 5 * keys * heads;
  call.work.hbm_read_bytes = query_bytes + keys * sizes_.kv_bytes_per_token(ctx);
  call.work.hbm_write_bytes = query_bytes;
  out.push_back(call);
}

double DecodeAttention::state_bytes(Tokens context, const LoweringContext& ctx) const {
  const Tokens kept = sizes_.window == 0 ? context : std::min(context, sizes_.window);
  return static_cast<double>(kept) * sizes_.kv_bytes_per_token(ctx);
}

const Registration<KernelClasses> attention_decode_class{
    "attention_decode", "one query per sequence against its paged KV cache", &kAttentionDecode};

}  // namespace orrery
