#pragma once

#include <cstdint>

#include "ops/operator.hpp"

namespace orrery {

// Rows of tokens on their way to the ranks of their experts and back. dims of the four: tokens (one rank
// sends), top_k, hidden, experts, ranks; dtype: the format of a row on the link. Choices fall on all ranks
// alike, one's own included: of a rank's rows 1/ranks stay.

/// DeepEP's kernels for many tokens ("normal"; DeepSeek, 2025): a row goes once to each rank that holds one
/// of its experts.
extern const KernelClass kMoeDispatch, kMoeCombine;
/// DeepEP's low-latency kernels: a row goes once to each of its experts. tokens k hidden b (1 - 1/ranks)
/// bytes each way (GShard; Lepikhin et al., 2020, section 3).
extern const KernelClass kMoeDispatchLowLatency, kMoeCombineLowLatency;
/// All ranks' tokens to all ranks, and the sums of their rows back to the rank of each token. dims: ranks,
/// bytes (of one rank's part). Sent per rank: (n-1) parts in a ring.
extern const KernelClass kTokenGather, kReduceScatter;

/// How the experts of a layer lie on the tp * dp ranks of a stage, and what moves.
struct ExpertSplit {
  explicit ExpertSplit(const LoweringContext& ctx);
  int ranks = 1;            ///< over which experts are divided
  int width_parts = 1;      ///< over which each one's width is divided
  int stage = 1;            ///< ranks together
  bool dispatched = false;  ///< rows are sent to the ranks of their experts
  bool gathered = false;    ///< all ranks get all tokens
  int token_parts = 1;      ///< ranks that share out a data-parallel rank's tokens before they send them
  int token_sets = 1;       ///< data-parallel ranks: each has as many tokens of its own
};

/// A row's format on its way to the experts: that of their arithmetic if it is narrower than the
/// activation's, else the activation's (DeepEP: fp8 there, bf16 back).
DType dispatch_format(const LoweringContext& ctx);

/// Tokens to the experts (role "dispatch", or "token_gather"); nothing where every rank has all tokens.
class ExpertDispatch final : public Operator {
 public:
  ExpertDispatch(std::int64_t width, int experts, double top_k)
      : width_(static_cast<double>(width)), experts_(experts), top_k_(top_k) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  bool pooled(const LoweringContext& ctx) const override { return ExpertSplit(ctx).gathered; }

 private:
  double width_, experts_, top_k_;
};

/// Experts' rows back to their tokens (role "combine", or "reduce_scatter").
class ExpertCombine final : public Operator {
 public:
  ExpertCombine(std::int64_t width, int experts, double top_k)
      : width_(static_cast<double>(width)), experts_(experts), top_k_(top_k) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  bool pooled(const LoweringContext& ctx) const override { return ExpertSplit(ctx).gathered; }

 private:
  double width_, experts_, top_k_;
};

/// What ends the layer on the tensor-parallel ranks: an all-reduce of the partial sums (role
/// "mlp_all_reduce"), or, where they shared out the tokens, a gather of these ("token_gather").
class ExpertJoin final : public Operator {
 public:
  explicit ExpertJoin(std::int64_t width) : width_(width) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::int64_t width_;
};

}  // namespace orrery
