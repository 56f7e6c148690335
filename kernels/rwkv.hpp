#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

inline constexpr int kWkvDim = 64;  ///< the head size of RWKV-5, 6 and 7

/// RWKV's state recurrence per head, S[key, value], with w_i = e^(-e^raw_i):
///   RWKV-6 (Peng et al., 2024, time mixing):  y = r^T (S + diag(u) k v^T),  S = diag(w) S + k v^T;
///   RWKV-7 (Peng et al., 2025, time mixing):  S = diag(w) S + b (a^T S) + k v^T,  y = r^T S.
/// All but u and the state are [tokens, heads, 64], the tokens of all sequences packed.
struct WkvArgs {
  const bf16* r = nullptr;
  const bf16* w = nullptr;  ///< raw
  const bf16* k = nullptr;
  const bf16* v = nullptr;
  const bf16* a = nullptr;  ///< RWKV-7 only, with b; nullptr: RWKV-6
  const bf16* b = nullptr;
  const float* u = nullptr;  ///< RWKV-6 only, [heads, 64]
  bf16* y = nullptr;
  float* state = nullptr;                ///< [seqs, heads, 64, 64], read and written
  const std::int32_t* starts = nullptr;  ///< first token of each sequence, and the end; nullptr: one each
  int seqs = 0, heads = 0;
};
void wkv(const WkvArgs& args, StreamRef stream);

}  // namespace orrery::kernels
