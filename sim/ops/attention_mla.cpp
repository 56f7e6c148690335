#include "ops/attention_mla.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

using Dims = KernelClass::Dims;
using Scaling = KernelClass::Scaling;

/// Per head and pair 2 (latent + rope) for q' c and 2 latent for p c (DeepSeek-V2, 2024, eq. 9-19 with W_UK
/// and W_UV absorbed), and 5 of softmax as any attention. A key's row is read once for all heads, as K and as
/// V.
Work absorbed_work(double queries, double pairs, double keys, const double* sizes, DType dtype,
                   DType kv_dtype) {
  const double heads = sizes[0], latent = sizes[1], rope = sizes[2];
  const double activation = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 2 * pairs * heads * (2 * latent + rope);
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * pairs * heads;
  w.hbm_read_bytes = queries * heads * (latent + rope) * activation +
                     keys * (latent + rope) * kv_bytes_per_element(kv_dtype);
  w.hbm_write_bytes = queries * heads * latent * activation;
  return w;
}

Work decode_work(const Dims& dims, DType dtype, DType kv_dtype) {
  return absorbed_work(dims[0], dims[1], dims[1], &dims[2], dtype, kv_dtype);
}

Work sparse_work(const Dims& dims, DType dtype, DType kv_dtype) {
  return absorbed_work(dims[1], dims[2], dims[3], &dims[5], dtype, kv_dtype);
}

/// 2 (qk_dim + value_dim) per head and pair; Q, K, V read once and O written once, all in the activations'
/// format: keys and values have just been expanded.
Work prefill_work(const Dims& dims, DType dtype, DType) {
  const double queries = dims[1], pairs = dims[2], keys = dims[3], heads = dims[5], qk = dims[6],
               value = dims[7];
  const double element = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 2 * pairs * heads * (qk + value);
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * pairs * heads;
  w.hbm_read_bytes = (queries * qk + keys * (qk + value)) * heads * element;
  w.hbm_write_bytes = queries * heads * value * element;
  return w;
}

/// As many gemms as heads, all in one launch.
Work absorb_work(const Dims& dims, DType dtype, DType weight_dtype) {
  const double rows = dims[0], n = dims[1], k = dims[2], heads = dims[3];
  const double activation = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 2 * rows * n * k * heads;
  w.tensor_dtype = dtype;
  w.weight_bytes = heads * stored_matrix_bytes(weight_dtype, k, n);
  w.hbm_read_bytes = rows * heads * k * activation + w.weight_bytes;
  w.hbm_write_bytes = rows * heads * n * activation;
  return w;
}

Work up_projection_work(const Dims& dims, DType dtype, DType weight_dtype) {
  return kGemm.work(dims, dtype, weight_dtype);
}

}  // namespace

constexpr KernelClass kAttentionMlaDecode{"attention_mla_decode",
                                          Scaling::decode,
                                          {"seqs", "context", "heads", "latent", "rope"},
                                          "one absorbed query per sequence against paged latents (MLA)",
                                          decode_work};
constexpr KernelClass kAttentionMlaPrefill{
    "attention_mla_prefill",
    Scaling::prefill,
    {"seqs", "new_tokens", "pairs", "kv_tokens", "max_kv", "heads", "qk_dim", "value_dim"},
    "causal attention of prompt chunks, keys and values expanded from latents (MLA)",
    prefill_work};
constexpr KernelClass kAttentionMlaSparse{
    "attention_mla_sparse",
    Scaling::prefill,
    {"seqs", "new_tokens", "pairs", "kv_tokens", "max_kv", "heads", "latent", "rope"},
    "absorbed attention of prompt chunks over chosen latents (MLA)",
    sparse_work};
constexpr KernelClass kMlaUpProjection{
    "mla_up_projection", Scaling::prefill,
    {"m", "n", "k"},     "keys and values of prompt chunks from their latents",
    up_projection_work,  &kGemm};
constexpr KernelClass kMlaAbsorb{"mla_absorb",
                                 Scaling::decode,
                                 {"rows", "n", "k", "heads"},
                                 "one product per head around absorbed attention",
                                 absorb_work};
constexpr KernelClass kMlaAbsorbPrefill{"mla_absorb_prefill", Scaling::prefill,
                                        kMlaAbsorb.dims,      "the same over the queries of prompt chunks",
                                        absorb_work,          &kMlaAbsorb};

void LatentSizes::check() const {
  const auto refuse = [](const char* field, std::int64_t given, const std::string& valid) {
    throw ConfigError("latent." + std::string(field) + " = " + std::to_string(given) + " is not possible",
                      "it must be " + valid);
  };
  if (heads < 1) refuse("heads", heads, "1 or more");
  if (latent < 1) refuse("latent", latent, "1 or more (kv_lora_rank)");
  if (rope < 0) refuse("rope", rope, "0 or more (qk_rope_head_dim)");
  if (nope < 1) refuse("nope", nope, "1 or more (qk_nope_head_dim)");
  if (value < 1) refuse("value", value, "1 or more (v_head_dim)");
  if (query_latent < 0) refuse("query_latent", query_latent, "0 (none) or more (q_lora_rank)");
  if (groups < 1 || heads % groups != 0 || latent % groups != 0) {
    refuse("groups", groups, "a divisor of heads and of latent");
  }
}

void MlaPrefill::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  Tokens queries = 0, pairs = 0, keys = 0, longest = 0, seqs = 0;
  for (const auto& chunk : ChunksOnRank(batch, ctx.shard)) {
    if (chunk.new_tokens == 0) continue;
    ++seqs;
    queries += chunk.new_tokens;
    // As many pairs as with a window of that many keys; chosen ones lie anywhere, so all may be read.
    pairs += attention_pairs(chunk, read_.tokens);
    keys += chunk.past + chunk.new_tokens;
    longest = std::max(longest, chunk.past + chunk.new_tokens);
  }
  if (seqs == 0) return;
  Dims dims{static_cast<double>(seqs),    static_cast<double>(queries),
            static_cast<double>(pairs),   static_cast<double>(keys),
            static_cast<double>(longest), static_cast<double>(sizes_.local_heads(ctx.shard.tp))};
  if (read_.tokens == 0) {
    dims[6] = static_cast<double>(sizes_.qk()), dims[7] = static_cast<double>(sizes_.value);
    attend(kAttentionMlaPrefill, dims, ctx.precision.activation, 1, batch, ctx, out);
    return;
  }
  const auto groups = sizes_.local_groups(ctx.shard.tp);
  dims[5] /= static_cast<double>(groups);
  dims[6] = static_cast<double>(sizes_.group_latent()), dims[7] = static_cast<double>(sizes_.rope);
  attend(kAttentionMlaSparse, dims, ctx.precision.kv_cache, groups, batch, ctx, out);
}

void MlaPrefill::attend(const KernelClass& cls, const Dims& dims, DType kv, std::int64_t times,
                        const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto push = [&](KernelCalls& calls, double parts) {
    Dims part = dims;
    for (const std::size_t i : {2, 3, 4}) part[i] /= parts;  // pairs, kv_tokens, max_kv
    for (std::int64_t g = 0; g < times; ++g) {
      calls.push_back(make_call(cls, part, ctx.precision.activation, kv));
      calls.back().role = "attention";
    }
  };
  if (!passes_keys(ctx)) return push(out, 1);
  const double token =
      static_cast<double>(sizes_.local_groups(ctx.shard.tp) * sizes_.group_latent() + sizes_.rope) *
      bytes_per_element(ctx.precision.activation);
  const auto times_heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  push_ring(
      {token, dims[1] * times_heads, read_.tokens == 0 ? dims[7] : dims[6]}, batch, ctx,
      [&](KernelCalls& calls) { push(calls, ctx.shard.cp); }, out);
}

void MlaDecode::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.decode_seqs == 0) return;
  ORRERY_CHECK(read_.tokens == 0 || cap_index_ < batch.windowed_context.size(),
               "the batch carries no capped context for a latent attention with a cap");
  const Tokens keys = read_.tokens == 0 ? batch.decode_context : batch.windowed_context[cap_index_];
  const auto groups = sizes_.local_groups(ctx.shard.tp);
  // Queries of one sequence are further heads over the same latents.
  // So are those of the ranks that share out a sequence's latents, of which each keeps a part.
  const auto heads = sizes_.local_heads(ctx.shard.tp) / groups * batch.decode_queries * ctx.shard.dcp;
  const Dims dims{static_cast<double>(batch.decode_seqs), static_cast<double>(keys) / ctx.shard.dcp,
                  static_cast<double>(heads), static_cast<double>(sizes_.group_latent()),
                  static_cast<double>(sizes_.rope)};
  for (std::int64_t g = 0; g < groups; ++g) {
    out.push_back(make_call(kAttentionMlaDecode, dims, ctx.precision.activation, ctx.precision.kv_cache));
    out.back().role = "attention";
  }
}

double MlaDecode::state_bytes(Tokens context, const LoweringContext& ctx) const {
  return static_cast<double>(kept_.of(context)) * sizes_.kv_bytes_per_token(ctx);
}

void MlaUpProjection::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  Tokens keys = 0;
  for (const auto& chunk : batch.chunks) {
    if (chunk.new_tokens > 0) keys += chunk.past + chunk.new_tokens;
  }
  if (keys == 0) return;
  const auto n = sizes_.local_heads(ctx.shard.tp) * (sizes_.nope + sizes_.value);
  const LinearFormat format = ctx.precision.linear(Module::mixer);
  out.push_back(make_call(
      kMlaUpProjection,
      {static_cast<double>(keys), static_cast<double>(n), static_cast<double>(sizes_.group_latent())},
      format.compute, format.weight));
  out.back().role = "kv_b_proj";
}

double MlaAbsorb::from() const {
  return static_cast<double>(side_ == Side::query ? sizes_.nope : sizes_.group_latent());
}
double MlaAbsorb::to() const {
  return static_cast<double>(side_ == Side::query ? sizes_.group_latent() : sizes_.value);
}

void MlaAbsorb::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto rows = prompts_ ? tokens_of_rank(batch, ctx.shard.cp).prefill_tokens()
                             : batch.decode_seqs * batch.decode_queries;
  if (rows == 0) return;
  const auto heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  out.push_back(make_call(prompts_ ? kMlaAbsorbPrefill : kMlaAbsorb,
                          {static_cast<double>(rows), to(), from(), heads}, ctx.precision.activation,
                          ctx.precision.activation));
  out.back().role = side_ == Side::query ? "mla_absorb_q" : "mla_absorb_o";
}

double MlaAbsorb::parameters() const {
  return prompts_ ? 0 : static_cast<double>(sizes_.heads) * from() * to();
}

double MlaAbsorb::weight_bytes(const LoweringContext& ctx) const {
  if (prompts_) return 0;
  const auto heads = static_cast<double>(sizes_.local_heads(ctx.shard.tp));
  const DType stored = ctx.precision.linear(Module::mixer).weight;
  const double own = stored_matrix_bytes(stored, from(), heads * to());
  const double copy = stored == ctx.precision.activation
                          ? 0
                          : heads * from() * to() * bytes_per_element(ctx.precision.activation);
  return own + copy;
}

void MlaRopeKvWrite::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double element = bytes_per_element(ctx.precision.activation);
  const auto rope = static_cast<double>(sizes_.rope);
  const double rotated = (static_cast<double>(sizes_.local_heads(ctx.shard.tp)) + 1) * rope;
  const double cached = sizes_.kv_bytes_per_token(ctx), table = rope * element;
  const double latent =
      static_cast<double>(sizes_.local_groups(ctx.shard.tp) * sizes_.group_latent()) * element;
  if (ctx.fusion.rope_kv_write) {
    push_elementwise(kRope, "rope", batch, ctx,
                     {rotated * element + table + latent, (rotated - rope) * element + cached, 3 * rotated},
                     out);
    return;
  }
  if (rope > 0) {
    push_elementwise(kRope, "rope", batch, ctx, {rotated * element + table, rotated * element, 3 * rotated},
                     out);
  }
  push_elementwise(kKvWrite, "kv_write", batch, ctx, {latent + rope * element, cached}, out);
}

const Registration<KernelClasses> attention_mla_decode_class{
    "attention_mla_decode", "one absorbed query per sequence against its paged latents",
    &kAttentionMlaDecode};
const Registration<KernelClasses> attention_mla_prefill_class{
    "attention_mla_prefill", "prompt chunks against keys and values expanded from latents",
    &kAttentionMlaPrefill};
const Registration<KernelClasses> attention_mla_sparse_class{
    "attention_mla_sparse", "prompt chunks against chosen latents", &kAttentionMlaSparse};
const Registration<KernelClasses> mla_up_projection_class{
    "mla_up_projection", "keys and values of prompt chunks from their latents", &kMlaUpProjection};
const Registration<KernelClasses> mla_absorb_class{
    "mla_absorb", "one product per head around absorbed latent attention", &kMlaAbsorb};
const Registration<KernelClasses> mla_absorb_prefill_class{"mla_absorb_prefill",
                                                           "the same over prompt chunks", &kMlaAbsorbPrefill};

}  // namespace orrery
