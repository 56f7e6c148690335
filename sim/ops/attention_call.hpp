#pragma once

#include "ops/attention.hpp"

namespace orrery {

/// Heads of a group on one rank, as the calls of its kernels carry them.
struct CallHeads {
  double heads = 0;     ///< that query
  double kv_heads = 0;  ///< whole heads of keys
  double stored = 0;    ///< as many of mean_dim, for K and for V, as one token keeps (less when tied)
  double read = 0;      ///< of those, what a decode query's heads read (less when few are active)
};
CallHeads call_heads(const AttentionSizes& sizes, double share, int ranks);

/// Appends a call of an attention class whose head_dim is dims[dim_at], in the plan's formats. Where Q K^T
/// and P V are multiplied in two formats it is one call for each, of half the width: half of the FLOPs and of
/// the bytes.
void push_attention(const KernelClass& cls, const KernelClass::Dims& dims, std::size_t dim_at,
                    const LoweringContext& ctx, KernelCalls& out);

/// The kernel that brings new queries and keys into 8 or 4 bits, their mean over the tokens taken off before
/// (SageAttention; Zhang et al., 2024), and values where P V is narrow too; none when nothing
/// is.
void push_low_bit_inputs(const LoweringContext& ctx, double tokens, const CallHeads& heads, double dim,
                         KernelCalls& out);

}  // namespace orrery
