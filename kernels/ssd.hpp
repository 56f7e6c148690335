#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Mamba-2's write strengths and decays (Dao and Gu, 2024): beta = softplus(delta + bias), decay
/// = -e^a_log beta (a logarithm). All [tokens, heads] but bias and a_log [heads]. With x as v, B as k and C
/// as q, groups as key heads, linear_attention and linear_decode do the rest.
struct SsdGateArgs {
  const bf16* delta = nullptr;
  const float* bias = nullptr;
  const float* a_log = nullptr;
  float* beta = nullptr;
  float* decay = nullptr;
  std::int64_t tokens = 0;
  int heads = 0;
};
void ssd_gates(const SsdGateArgs& args, StreamRef stream);

}  // namespace orrery::kernels
