#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ops/attention_pattern.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// A projection that each head runs on the tokens it chose alone (expert choice; Piekos et al., Mixture of
/// Sparse Attention, 2025, section 3): of a prompt the budget's share of each chunk's tokens. The decode set
/// runs whole: whether its newest tokens are chosen is not known by sums, and a few rows cost what the
/// matrix does.
class ChosenTokens final : public Operator {
 public:
  /// `phase`: of prompts (Scaling prefill), or of the decode set (Scaling decode), which also owns the
  /// parameters.
  ChosenTokens(OperatorPtr op, KeySelection select, Phase phase)
      : op_(std::move(op)), select_(select), phase_(phase) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override { return phase_ == Phase::decode ? op_->parameters() : 0; }
  double weight_bytes(const LoweringContext& ctx) const override {
    return phase_ == Phase::decode ? op_->weight_bytes(ctx) : 0;
  }

 private:
  OperatorPtr op_;
  KeySelection select_;
  Phase phase_;
};

}  // namespace orrery
