#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// Linear layers whose weight matrix was made smaller.

/// y[m,n] = x[m,k] W[k,n] with two of every four neighbours of W along k kept (2:4 structured sparsity;
/// Mishra et al., Accelerating Sparse Deep Neural Networks, 2021). dims: m, n, k. FLOPs are those done, mnk,
/// half the dense ones; W is k n / 2 elements and a 2-bit index for each.
extern const KernelClass kGemmSparse24;
/// y[m,n] = (x[m,k] A[k,rank]) B[rank,n], two launches: a low-rank factor pair (SVD compression), or an
/// adapter (LoRA; Hu et al., 2021). dims: m, n, k, rank.
extern const KernelClass kGemmLowRank;

}  // namespace orrery
