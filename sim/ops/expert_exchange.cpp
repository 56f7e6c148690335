#include "ops/expert_exchange.hpp"

#include <array>
#include <cmath>

#include "base/registry.hpp"
#include "ops/collective.hpp"
#include "ops/exchange_work.hpp"
#include "ops/expert_load.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

using Dims = KernelClass::Dims;
constexpr auto kTokens = KernelClass::Scaling::tokens;
constexpr std::array<std::string_view, 8> kRowDims{"tokens", "top_k", "hidden", "experts", "ranks"};
constexpr std::array<std::string_view, 8> kPartDims{"ranks", "bytes"};

/// `copies` rows per token over the link, but for those that stay; on either side they pass through HBM once,
/// beside the tokens' own rows in 16 bits.
Work rows_work(const Dims& dims, DType dtype, double copies, bool to_experts) {
  const double tokens = dims[0], hidden = dims[2], ranks = dims[4];
  const double row = hidden * bytes_per_element(dtype),
               own = hidden * bytes_per_element(activation_format(dtype));
  Work w;
  w.link_bytes = tokens * copies * row * (1 - 1 / ranks);
  (to_experts ? w.hbm_write_bytes : w.hbm_read_bytes) = tokens * copies * row;
  (to_experts ? w.hbm_read_bytes : w.hbm_write_bytes) = tokens * own;
  return w;
}
double ranks_reached(const Dims& dims) {
  return dims[4] * (1 - chance_missed(dims[3], dims[3] / dims[4], dims[1]));
}
Work dispatch_work(const Dims& dims, DType dtype, DType) {
  return rows_work(dims, dtype, ranks_reached(dims), true);
}
Work combine_work(const Dims& dims, DType dtype, DType) {
  return rows_work(dims, dtype, ranks_reached(dims), false);
}
Work dispatch_low_latency_work(const Dims& dims, DType dtype, DType) {
  return rows_work(dims, dtype, dims[1], true);
}
Work combine_low_latency_work(const Dims& dims, DType dtype, DType) {
  return rows_work(dims, dtype, dims[1], false);
}

}  // namespace

constexpr KernelClass kMoeDispatch{"moe_dispatch", kTokens, kRowDims,
                                   "rows of tokens to the ranks of their experts, once per rank",
                                   dispatch_work};
constexpr KernelClass kMoeCombine{"moe_combine", kTokens, kRowDims, "rows back, summed per rank before",
                                  combine_work};
constexpr KernelClass kMoeDispatchLowLatency{"moe_dispatch_low_latency", kTokens, kRowDims,
                                             "rows of tokens to the ranks of their experts, once per expert",
                                             dispatch_low_latency_work};
constexpr KernelClass kMoeCombineLowLatency{"moe_combine_low_latency", kTokens, kRowDims,
                                            "rows back, one per expert", combine_low_latency_work};
constexpr KernelClass kTokenGather{"token_gather", kTokens,    kPartDims, "all ranks' tokens to all ranks",
                                   gather_work,    &kAllGather};
constexpr KernelClass kReduceScatter{"reduce_scatter", kTokens, kPartDims,
                                     "sums over ranks, each rank its own tokens' part", reduce_scatter_work};

ExpertSplit::ExpertSplit(const LoweringContext& ctx) {
  stage = ctx.shard.tp * ctx.shard.dp;
  ranks = ctx.shard.ep, width_parts = stage / ranks;
  token_sets = ctx.shard.dp;
  dispatched = token_sets > 1 && ranks == stage && ctx.fusion.experts.dispatch;
  gathered = token_sets > 1 && !dispatched;
  token_parts = dispatched ? ctx.shard.tp : 1;
}

DType dispatch_format(const LoweringContext& ctx) {
  const DType compute = ctx.precision.linear(Module::experts).compute;
  return bytes_per_element(compute) < bytes_per_element(ctx.precision.activation) ? compute
                                                                                  : ctx.precision.activation;
}

namespace {

/// Tokens that one rank sends.
double sent_tokens(const BatchShape& batch, const ExpertSplit& split) {
  return std::ceil(static_cast<double>(batch.dense_tokens()) / split.token_parts);
}
bool low_latency(double tokens, const LoweringContext& ctx) {
  return tokens <= static_cast<double>(ctx.fusion.experts.low_latency_tokens);
}

}  // namespace

void ExpertDispatch::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const ExpertSplit split(ctx);
  const double tokens = sent_tokens(batch, split);
  if (tokens == 0) return;
  const DType format = dispatch_format(ctx);
  if (split.dispatched) {
    push_exchange(low_latency(tokens, ctx) ? kMoeDispatchLowLatency : kMoeDispatch, "dispatch",
                  {tokens, top_k_, width_, experts_, static_cast<double>(split.ranks)}, format, out);
  } else if (split.gathered) {
    push_exchange(kTokenGather, "token_gather",
                  {static_cast<double>(split.token_sets), tokens * width_ * bytes_per_element(format)},
                  format, out);
  }
}

void ExpertCombine::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const ExpertSplit split(ctx);
  const double tokens = sent_tokens(batch, split);
  if (tokens == 0) return;
  const DType format = ctx.precision.activation;
  if (split.dispatched) {
    push_exchange(low_latency(tokens, ctx) ? kMoeCombineLowLatency : kMoeCombine, "combine",
                  {tokens, top_k_, width_, experts_, static_cast<double>(split.ranks)}, format, out);
  } else if (split.gathered) {
    push_exchange(kReduceScatter, "reduce_scatter",
                  {static_cast<double>(split.token_sets), tokens * width_ * bytes_per_element(format)},
                  format, out);
  }
}

void ExpertJoin::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const ExpertSplit split(ctx);
  if (!split.dispatched) return AllReduce("mlp_all_reduce", width_).lower(batch, ctx, out);
  const double tokens = sent_tokens(batch, split);
  if (split.token_parts < 2 || tokens == 0) return;
  const DType format = ctx.precision.activation;
  push_exchange(kTokenGather, "token_gather",
                {static_cast<double>(split.token_parts),
                 tokens * static_cast<double>(width_) * bytes_per_element(format)},
                format, out);
}

const Registration<KernelClasses> moe_dispatch_class{
    "moe_dispatch", "tokens to the ranks of their experts, once per rank", &kMoeDispatch};
const Registration<KernelClasses> moe_combine_class{
    "moe_combine", "experts' rows back, summed per rank before", &kMoeCombine};
const Registration<KernelClasses> moe_dispatch_low_latency_class{
    "moe_dispatch_low_latency", "tokens to the ranks of their experts, once per expert",
    &kMoeDispatchLowLatency};
const Registration<KernelClasses> moe_combine_low_latency_class{
    "moe_combine_low_latency", "experts' rows back, one per expert", &kMoeCombineLowLatency};
const Registration<KernelClasses> token_gather_class{"token_gather", "all ranks' tokens to all ranks",
                                                     &kTokenGather};
const Registration<KernelClasses> reduce_scatter_class{
    "reduce_scatter", "sums over ranks, each rank its own tokens' part", &kReduceScatter};

}  // namespace orrery
