#pragma once

#include <cstdint>

#include "ops/moe_layer.hpp"

namespace orrery {

/// Single neurons looked up and applied: y = sum_j w_j act(x . u_j) v_j, u_j and v_j rows of two tables.
/// dims: tokens, rows (per token), hidden, distinct (rows of each table that are read at all). FLOPs 4 per
/// element of a row.
extern const KernelClass kExpertGather;

/// A layer of very many experts of one neuron each, retrieved by product keys (Lample et al., 2019; He,
/// Mixture of a Million Experts (PEER), 2024, section 2): per head a query of key_width, its halves scored
/// against sqrt(E) half keys each (shared by the heads), the k best of each half merged to k^2 pairs, the
/// best k taken. Retrieval costs 2 n sqrt(E) key_width FLOPs per head. Heads are divided over the
/// tensor-parallel ranks, keys and experts whole on each, and the sums all-reduced. Roles "query", "keys",
/// "retrieval", "experts".
class ProductKeyExperts final : public Operator {
 public:
  ProductKeyExperts(const MoeParams& params, std::int64_t hidden);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double active_parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  double retrieval_parameters(double heads) const;
  double heads(const LoweringContext& ctx) const;
  MoeParams params_;
  double hidden_, root_;
};

}  // namespace orrery
