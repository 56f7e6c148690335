#pragma once

#include <cstdint>
#include <string_view>

#include "ops/operator.hpp"

namespace orrery {

/// Sum of the step's hidden states over the tensor-parallel ranks; nothing on one rank. Lowered as NCCL's; an
/// engine's plan replaces it by a custom kernel below a size. Sent per rank: 2 (n-1)/n of the payload, the
/// bound of a ring (Patarasuk and Yuan, 2009); read and written once in HBM.
class AllReduce final : public Operator {
 public:
  AllReduce(std::string_view role, std::int64_t width) : role_(role), width_(width) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::string_view role_;
  std::int64_t width_;
};

/// Each rank's part of the logits to all ranks: (n-1) payloads sent per rank in a ring. dims.bytes is one
/// rank's part.
class LogitsGather final : public Operator {
 public:
  explicit LogitsGather(std::int64_t vocab) : vocab_(vocab) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::int64_t vocab_;
};

/// The step's hidden states from one pipeline stage to the next: with norms that add the residual in, that
/// too, as a tensor of its own (vLLM, models/llama.py: IntermediateTensors). Each tensor-parallel rank sends
/// its part to the same rank of the next stage, whose ranks gather them (vLLM, parallel_state.py:
/// send_tensor_dict). dims.bytes is one rank's part.
class SendRecv final : public Operator {
 public:
  /// `to_other_node`: over the network, not the links inside a node.
  SendRecv(std::int64_t width, bool to_other_node) : width_(width), to_other_node_(to_other_node) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::int64_t width_;
  bool to_other_node_;
};

}  // namespace orrery
