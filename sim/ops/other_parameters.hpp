#pragma once

#include "ops/operator.hpp"

namespace orrery {

/// Parameters that a model stores and hardly computes with: biases of norms, learned positions, scales. On
/// every rank, in the activation's format.
class OtherParameters final : public Operator {
 public:
  explicit OtherParameters(std::int64_t count) : count_(static_cast<double>(count)) {}
  void lower(const BatchShape&, const LoweringContext&, KernelCalls&) const override {}
  double parameters() const override { return count_; }
  double weight_bytes(const LoweringContext& ctx) const override {
    return count_ * bytes_per_element(ctx.precision.activation);
  }

 private:
  double count_;
};

}  // namespace orrery
