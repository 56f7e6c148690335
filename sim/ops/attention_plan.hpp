#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "ops/dtype.hpp"

namespace orrery {

/// How ranks that divide a prompt get each other's keys and values: all before attention (vLLM, Megatron-LM),
/// or one part after another while they attend (Liu et al., Ring Attention, 2023).
enum class ContextExchange : std::uint8_t { gather, ring };
std::span<const std::string_view> enum_names(ContextExchange);

/// What an engine chooses about attention kernels (block AttnKernel); part of a kernel plan, seen by
/// lowering.
struct AttentionPlan {
  /// One tiled kernel (FlashAttention; Dao et al., 2022). Else scores and probabilities pass through the
  /// memory, in four launches, masked or not.
  bool fused = true;
  /// Formats in which Q K^T and P V are multiplied; absent: the activations' (8-bit attention: SageAttention,
  /// Zhang et al., 2024; FlashAttention-3, Shah et al., 2024).
  std::optional<DType> scores, values;
  /// Parts that a decode query's keys are split into, merged by a launch of its own (Flash-Decoding; Dao et
  /// al., 2023). 0: as the timed kernels do it, their merge within their time.
  int splits = 0;
  ContextExchange exchange = ContextExchange::gather;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("fused", p.fused), v("scores", p.scores), v("values", p.values), v("splits", p.splits);
    v("exchange", p.exchange);
  }
  bool operator==(const AttentionPlan&) const = default;
};

}  // namespace orrery
