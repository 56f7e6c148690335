#pragma once

#include <cstdint>
#include <vector>

#include "ops/expert_exchange.hpp"
#include "ops/expert_load.hpp"
#include "ops/moe_layer.hpp"

namespace orrery {

/// A batch of so many rows, rounded up.
BatchShape batch_of_rows(double rows);

/// The router's product, [tokens, hidden] by [hidden, choices] in the activation's format: routers are never
/// quantised. Role "router".
class RouterProjection final : public Operator {
 public:
  RouterProjection(const MoeParams& params, std::int64_t hidden);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  double hidden_, choices_;
  bool bias_;
};

/// What is left of routing beside that product: choice, sort, permutation and weighted sum (kMoeRouting, or
/// kMoeExpertChoice). Where rows are dispatched it permutes what this rank sends, else what it computes. Role
/// "routing".
class ExpertRouting final : public Operator {
 public:
  ExpertRouting(const MoeParams& params, std::int64_t hidden);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  bool pooled(const LoweringContext& ctx) const override { return ExpertSplit(ctx).gathered; }

 private:
  MoeParams params_;
  double hidden_;
};

/// The rows that the busiest rank computes, and the experts of it that get some.
struct ExpertRows {
  double rows = 0, active = 0, experts = 0;
};

/// The routed experts on the rows that reach this rank: their up (and gate) projection, activation and down
/// projection (roles "experts_up", "activation", "experts_down"), as ExpertPlan::products has them. The rank
/// is the one that gets most rows, as the others wait for it. With experts that are adapters, two products of
/// low rank for each matrix of the shared experts instead ("adapters_a", "adapters_b").
class RoutedExperts final : public Operator {
 public:
  RoutedExperts(const MoeParams& params, std::int64_t hidden);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double active_parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;
  bool pooled(const LoweringContext& ctx) const override { return ExpertSplit(ctx).token_sets > 1; }

  /// `tokens`: of one data-parallel rank.
  ExpertRows rows(double tokens, const LoweringContext& ctx) const;

 private:
  struct Matrix {
    std::string_view role;
    double n, k;
  };
  double parameters_of_one() const;
  /// Matrices of one expert as they lie on a rank, in order; the activation comes before the last.
  std::vector<Matrix> matrices(int width_parts) const;
  void push(const Matrix& matrix, const ExpertRows& rows, const LoweringContext& ctx, KernelCalls& out) const;
  /// All matrices on these rows: of all experts together, or of one.
  void launch(const ExpertRows& rows, const LoweringContext& ctx, KernelCalls& out) const;

  MoeParams params_;
  double hidden_;
  std::vector<double> chances_;
};

}  // namespace orrery
