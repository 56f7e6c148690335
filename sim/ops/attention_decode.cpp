#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/attention_call.hpp"
#include "ops/attention_index.hpp"
#include "ops/attention_merge.hpp"
#include "ops/attention_unfused.hpp"
#include "ops/block_select.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Work decode_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const double seqs = dims[0], keys = dims[1], heads = dims[2], kv_heads = dims[3], dim = dims[4];
  const double query_bytes = seqs * heads * dim * bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 4 * keys * dim * heads;
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * keys * heads;
  w.hbm_read_bytes = query_bytes + keys * 2.0 * kv_heads * dim * kv_bytes_per_element(kv_dtype);
  w.hbm_write_bytes = query_bytes;
  return w;
}
}  // namespace

constexpr KernelClass kAttentionDecode{"attention_decode",
                                       KernelClass::Scaling::decode,
                                       {"seqs", "context", "heads", "kv_heads", "head_dim"},
                                       "one query per sequence against paged KV",
                                       decode_work};

double DecodeAttention::Reading::of(const BatchShape& batch) const {
  if (index < 0) return share * static_cast<double>(batch.decode_context);
  const auto i = static_cast<std::size_t>(index);
  ORRERY_CHECK(i < batch.windowed_context.size(),
               "the batch carries no windowed context for a windowed attention");
  return share * static_cast<double>(batch.windowed_context[i]);
}

template <class IndexOf>
void DecodeAttention::resolve(const IndexOf& index_of) {
  for (HeadGroup& heads : sizes_.groups()) {
    Group group;
    for (const KeyTerm& term : heads.pattern.decode_terms()) {
      group.readings.push_back({term.share, term.cap.tokens == 0 ? -1 : index_of(term.cap)});
    }
    group.heads = heads;
    groups_.push_back(std::move(group));
  }
}

DecodeAttention::DecodeAttention(AttentionSizes sizes, std::span<const KeyCap> caps)
    : sizes_(std::move(sizes)) {
  resolve([&](const KeyCap& cap) {
    const auto found = std::find(caps.begin(), caps.end(), cap);
    ORRERY_CHECK(found != caps.end(), "the model's caps lack one of its attention's");
    return static_cast<int>(found - caps.begin());
  });
}

DecodeAttention::DecodeAttention(AttentionSizes sizes, std::size_t cap_index) : sizes_(std::move(sizes)) {
  resolve([&](const KeyCap&) { return static_cast<int>(cap_index); });
}

void DecodeAttention::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.decode_seqs == 0) return;
  for (const Group& group : groups_) push(group, batch, ctx, out);
}

void DecodeAttention::push(const Group& group, const BatchShape& batch, const LoweringContext& ctx,
                           KernelCalls& out) const {
  const CallHeads local = call_heads(sizes_, group.heads.share, ctx.shard.tp);
  const AttentionPattern& pattern = group.heads.pattern;
  push_decode_index(pattern, {local.heads, local.kv_heads, static_cast<double>(sizes_.head_dim)}, batch, ctx,
                    out);
  const auto seqs = static_cast<double>(batch.decode_seqs), parts = static_cast<double>(ctx.shard.dcp);
  // With the keys divided, the queries of all the ranks that share them meet this rank's part.
  const double heads = local.heads * static_cast<double>(batch.decode_queries) * parts;
  const double dim = sizes_.mean_dim();
  const KernelClass& cls = pattern.granule() > 0 ? kAttentionSelected : kAttentionDecode;
  const AttentionPlan& plan = ctx.fusion.attention;
  if (!plan.fused) {  // every query meets every key, whatever the mask
    const double keys = static_cast<double>(batch.decode_context) / parts;
    push_unfused_attention({seqs, keys, keys, heads, local.stored, dim}, ctx.precision.activation,
                           ctx.precision.kv_cache, out);
    return;
  }
  const std::size_t first = out.size();
  for (const Reading& reading : group.readings) {
    const std::size_t next = out.size();
    push_attention(cls, {seqs, reading.of(batch) / parts, heads, local.read, dim}, 4, ctx, out);
    if (next == first) continue;
    // One kernel reads all of a query's contexts: its queries and outputs move once.
    for (std::size_t i = next; i < out.size(); ++i) {
      const double queries = out[i].work.hbm_write_bytes;
      out[i].work.hbm_read_bytes -= queries, out[i].work.hbm_write_bytes = 0;
    }
  }
  if (plan.splits > 1) {
    const DType activation = ctx.precision.activation;
    out.push_back(make_call(kAttentionMerge, {seqs * heads, static_cast<double>(plan.splits), dim},
                            activation, activation));
    out.back().role = "attention_merge";
  }
}

double DecodeAttention::state_bytes(Tokens context, const LoweringContext& ctx) const {
  double tokens = 0;
  for (const Group& group : groups_) {
    tokens += group.heads.share * value_of(group.heads.pattern.resident_terms(), context);
  }
  return tokens * sizes_.kv_bytes_per_token(ctx) +
         static_cast<double>(context) * sizes_.index_bytes_per_token(ctx);
}

const Registration<KernelClasses> attention_decode_class{
    "attention_decode", "one query per sequence against its paged KV cache", &kAttentionDecode};

}  // namespace orrery
