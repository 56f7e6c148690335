#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Where a and b of h = a h + b come from.
enum class GatedScanRule : std::uint8_t {
  /// RG-LRU (De et al., Griffin, 2024, eq. 1-4): streams x, recurrence gate r and input gate i before their
  /// sigmoids; log a = -8 softplus(parameter) sigmoid(r), b = sqrt(1 - a^2) sigmoid(i) x.
  rg_lru,
  /// HGRN (Qin et al., 2023) and minGRU (Feng et al., 2024): streams x and a gate z before its sigmoid;
  /// a = 1 - sigmoid(z), b = sigmoid(z) x.
  complement,
};

/// h = a h + b per channel. Streams [tokens, channels], tokens of all sequences packed, channels a multiple
/// of 8.
struct GatedScanArgs {
  GatedScanRule rule = GatedScanRule::rg_lru;
  const bf16* x = nullptr;
  const bf16* gate = nullptr;        ///< r or z
  const bf16* input_gate = nullptr;  ///< i of RG-LRU
  const float* parameter = nullptr;  ///< of RG-LRU, [channels]
  bf16* h = nullptr;                 ///< [tokens, channels]
  const float* before = nullptr;     ///< state [seqs, channels]
  float* after = nullptr;            ///< the same after these tokens; another buffer unless all have one span
  const std::int32_t* starts = nullptr;     ///< first token of each sequence, and the end
  float* summaries = nullptr;               ///< workspace [2, seqs, gated_scan_spans(longest), channels]
  int seqs = 0, channels = 0, longest = 0;  ///< most tokens of a sequence
};
/// Spans of time that a prompt is divided into, scanned in parallel.
int gated_scan_spans(int longest);
void gated_scan(const GatedScanArgs& args, StreamRef stream);

}  // namespace orrery::kernels
