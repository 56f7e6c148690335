#pragma once

#include <cstdint>

#include "ops/moe_layer.hpp"

namespace orrery {

/// The mixing of Soft MoE (Puigcerver et al., From Sparse to Soft Mixtures of Experts, 2023, section 2.1) on
/// either side of its experts, on the experts of this rank: x [n, D], phi [D, E p], logits x phi; a slot's
/// input is a weighted mean of all tokens, a token's output one of all slots. Beside the logits' softmax,
/// three products of 2 n E p D FLOPs.
class SoftMixing final : public Operator {
 public:
  enum class Side : std::uint8_t { into_slots, out_of_slots };
  SoftMixing(const MoeParams& params, std::int64_t hidden, Side side)
      : slots_(static_cast<double>(params.experts) * params.slots),
        hidden_(static_cast<double>(hidden)),
        side_(side) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override { return side_ == Side::into_slots ? slots_ * hidden_ : 0; }
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  double slots_, hidden_;
  Side side_;
};

}  // namespace orrery
