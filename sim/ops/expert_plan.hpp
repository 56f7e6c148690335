#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/units.hpp"

namespace orrery {

/// How the experts' matrix products are launched.
enum class ExpertProducts : std::uint8_t {
  grouped,  ///< one launch per matrix over the rows there are (MegaBlocks; Gale et al., 2022)
  padded,   ///< one launch per matrix, each expert given the rows of its capacity (GShard; Lepikhin et al.,
            ///< 2020)
  looped,   ///< a launch per expert and matrix
};
std::span<const std::string_view> enum_names(ExpertProducts);

/// What an engine chooses about a mixture of experts; part of a kernel plan, seen by lowering.
struct ExpertPlan {
  ExpertProducts products = ExpertProducts::grouped;
  /// Rows of an expert are padded to a multiple of this many in a grouped product: 128 in MegaBlocks, 16 to
  /// 128 in vLLM's fused kernel. 1 = not at all.
  int tile_rows = 1;
  /// Data-parallel ranks send each row to the ranks of its experts and back (DeepEP). Else they gather all
  /// tokens of all ranks and scatter the sums (vLLM's allgather_reducescatter).
  bool dispatch = true;
  /// Steps of at most so many tokens per rank are dispatched by the low-latency kernels: what DeepEP
  /// published their times for (it advises fewer than 256).
  Tokens low_latency_tokens = 128;
  /// Experts lie on ranks by their load, not in order, and the most chosen ones on several: so many copies
  /// more than experts (DeepSeek's EPLB, 2025).
  bool balance = false;
  int redundant = 0;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("products", p.products), v("tile_rows", p.tile_rows), v("dispatch", p.dispatch);
    v("low_latency_tokens", p.low_latency_tokens), v("balance", p.balance), v("redundant", p.redundant);
  }
  bool operator==(const ExpertPlan&) const = default;
};

}  // namespace orrery
