#include "ops/linear_compressed.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"

namespace orrery {

namespace {

/// 16-bit weights keep 0.5625 of their bytes, 8-bit ones 0.625 (and their scales per output channel).
Work sparse24_work(const KernelClass::Dims& dims, DType dtype, DType weight_dtype) {
  const double m = dims[0], n = dims[1], k = dims[2];
  Work w;
  w.tensor_flops = m * n * k;
  w.tensor_dtype = dtype;
  w.weight_bytes = stored_matrix_bytes(weight_dtype, k / 2, n) + n * k / 2 * 2 / 8;
  w.hbm_read_bytes = m * k * bytes_per_element(dtype) + w.weight_bytes;
  w.hbm_write_bytes = m * n * bytes_per_element(activation_format(dtype));
  return w;
}

/// The sum of both GEMMs; x A goes through memory between them.
Work low_rank_work(const KernelClass::Dims& dims, DType dtype, DType weight_dtype) {
  const double m = dims[0], n = dims[1], k = dims[2], rank = dims[3];
  Work w = kGemm.work({m, rank, k}, dtype, weight_dtype);
  w += kGemm.work({m, n, rank}, dtype, weight_dtype);
  return w;
}

}  // namespace

constexpr KernelClass kGemmSparse24{"gemm_sparse24",
                                    KernelClass::Scaling::tokens,
                                    {"m", "n", "k"},
                                    "y[m,n] = x[m,k] W[k,n], W with 2:4 structured sparsity",
                                    sparse24_work};
constexpr KernelClass kGemmLowRank{"gemm_lowrank",
                                   KernelClass::Scaling::tokens,
                                   {"m", "n", "k", "rank"},
                                   "y[m,n] = (x[m,k] A[k,rank]) B[rank,n], two launches",
                                   low_rank_work};

const Registration<KernelClasses> gemm_sparse24_class{"gemm_sparse24", "matrix product, weights 2:4 sparse",
                                                      &kGemmSparse24};
const Registration<KernelClasses> gemm_lowrank_class{
    "gemm_lowrank", "product with a pair of low-rank factors", &kGemmLowRank};

}  // namespace orrery
