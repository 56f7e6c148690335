#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Work decode_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const double seqs = dims[0], keys = dims[1], heads = dims[2], kv_heads = dims[3], dim = dims[4];
  const double query_bytes = seqs * heads * dim * bytes_per_element(dtype);
  Work w;
  w.tensor_flops = 4 * keys * dim * heads;
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * keys * heads;
  w.hbm_read_bytes = query_bytes + keys * 2.0 * kv_heads * dim * bytes_per_element(kv_dtype);
  w.hbm_write_bytes = query_bytes;
  return w;
}
}  // namespace

constexpr KernelClass kAttentionDecode{"attention_decode",
                                       KernelClass::Scaling::decode,
                                       {"seqs", "context", "heads", "kv_heads", "head_dim"},
                                       "one query per sequence against paged KV",
                                       decode_work};

void DecodeAttention::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.decode_seqs == 0) return;
  ORRERY_CHECK(sizes_.window == 0 || window_index_ < batch.windowed_context.size(),
               "the batch carries no windowed context for a windowed attention");
  const Tokens read = sizes_.window == 0 ? batch.decode_context : batch.windowed_context[window_index_];
  const auto heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  const auto kv_heads = static_cast<double>(sizes_.local_kv_heads(ctx.shard.tp));
  const auto dim = static_cast<double>(sizes_.head_dim);
  const auto seqs = static_cast<double>(batch.decode_seqs), keys = static_cast<double>(read);
  out.push_back(make_call(kAttentionDecode, {seqs, keys, heads, kv_heads, dim}, ctx.precision.activation,
                          ctx.precision.kv_cache));
  out.back().role = "attention";
}

double DecodeAttention::state_bytes(Tokens context, const LoweringContext& ctx) const {
  const Tokens kept = sizes_.window == 0 ? context : std::min(context, sizes_.window);
  return static_cast<double>(kept) * sizes_.kv_bytes_per_token(ctx);
}

const Registration<KernelClasses> attention_decode_class{
    "attention_decode", "one query per sequence against its paged KV cache", &kAttentionDecode};

}  // namespace orrery
