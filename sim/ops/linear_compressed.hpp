#pragma once

#include "ops/kernel_call.hpp"
#include "ops/linear_format.hpp"

namespace orrery {

// Linear layers whose weight matrix was made smaller.

/// y[m,n] = x[m,k] W[k,n] with two of every four neighbours of W along k kept (2:4 structured sparsity;
/// Mishra et al., Accelerating Sparse Deep Neural Networks, 2021). dims: m, n, k. FLOPs are those done, mnk,
/// half the dense ones; W is k n / 2 elements and a 2-bit index for each.
extern const KernelClass kGemmSparse24;
/// y[m,n] = (x[m,k] A[k,rank]) B[rank,n], two launches: a low-rank factor pair (SVD compression), or an
/// adapter (LoRA; Hu et al., 2021). One call stands for both. dims: m, n, k, rank.
extern const KernelClass kGemmLowRank;

/// Appends y[m,n] = x[m,k] W[k,n] as engines run it with W in `format`, x and y in `activation`. dims: m, n,
/// k. One call (2:4 sparse, a pair of factors, or plain), then what is added to y in the activation's format:
/// the rows of outliers ("outliers", which reads y again), an adapter ("adapter", likewise).
void push_product(std::string_view role, const KernelClass::Dims& dims, const LinearFormat& format,
                  DType activation, KernelCalls& out);

}  // namespace orrery
