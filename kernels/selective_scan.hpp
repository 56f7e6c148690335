#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Mamba's selective scan (Gu and Dao, 2023, algorithm 2, discretised as in its eq. 4 with B by Euler's
/// rule): for each channel d and state n
///   delta = softplus(delta_raw + delta_bias),  h = e^(delta A) h + delta B x,  y = sum_n C h + D x,
/// and y silu(z). Tokens of all sequences are packed; rows of channels, a multiple of 32.
struct SelectiveScanArgs {
  const bf16* x = nullptr;                  ///< [tokens, channels]
  const bf16* delta = nullptr;              ///< as x, before bias and softplus
  const bf16* z = nullptr;                  ///< as x
  const bf16* b = nullptr;                  ///< [tokens, states]
  const bf16* c = nullptr;                  ///< as b
  const float* a = nullptr;                 ///< [channels, states], negative
  const float* d = nullptr;                 ///< [channels]
  const float* delta_bias = nullptr;        ///< [channels]
  bf16* y = nullptr;                        ///< as x
  float* state = nullptr;                   ///< [seqs, channels, states], read and written
  const std::int32_t* starts = nullptr;     ///< first token of each sequence, and the end; nullptr: one each
  int seqs = 0, channels = 0, states = 16;  ///< states 8, 16 or 32
};
void selective_scan(const SelectiveScanArgs& args, StreamRef stream);

/// Causal depthwise convolution of width 4 and SiLU: y_t = silu(bias + sum_i weight_i x_(t - 3 + i)), the
/// three inputs before a sequence's first from its state. channels: a multiple of 8.
struct CausalConvArgs {
  const bf16* x = nullptr;                  ///< [tokens, channels]
  const bf16* weight = nullptr;             ///< [channels, 4]
  const bf16* bias = nullptr;               ///< [channels]
  bf16* y = nullptr;                        ///< [tokens, channels]
  const bf16* before = nullptr;             ///< [seqs, 3, channels], oldest first
  bf16* after = nullptr;                    ///< the same after these tokens; another buffer than `before`
  const std::int32_t* starts = nullptr;     ///< [seqs + 1]
  int seqs = 0, channels = 0, longest = 0;  ///< most tokens of a sequence
};
inline constexpr int kConvWidth = 4;
void causal_conv(const CausalConvArgs& args, StreamRef stream);

}  // namespace orrery::kernels
