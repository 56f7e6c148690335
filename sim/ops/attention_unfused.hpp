#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// Attention whose scores and probabilities pass through the memory (what FlashAttention does away with; Dao
// et al., 2022, algorithm 0): the queries scaled, Q K^T, the masked softmax, P V. Every query meets every key
// of its sequence, masked or not. dims of all: queries, pairs, keys, heads, kv_heads, head_dim (the mean of
// keys' and values').

extern const KernelClass kAttentionScores;   ///< S = Q K^T: Q and K read, S written
extern const KernelClass kAttentionSoftmax;  ///< P = softmax(mask(S)): S read, P written
extern const KernelClass kAttentionValues;   ///< O = P V: P and V read, O written

/// Appends the four launches. dims as the classes'.
void push_unfused_attention(const KernelClass::Dims& dims, DType dtype, DType kv_dtype, KernelCalls& out);

}  // namespace orrery
