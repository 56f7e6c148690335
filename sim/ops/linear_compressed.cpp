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
                                   low_rank_work,
                                   nullptr,
                                   2};

namespace {

/// The call of a class at m, n, k with W as `format` stores it.
KernelCall product(const KernelClass& cls, const KernelClass::Dims& dims, const LinearFormat& format,
                   DType activation) {
  KernelCall call = make_call(cls, dims, format.compute, format.weight);
  const double stored = stored_matrix_bytes(format, dims[2], dims[1]);
  call.work.hbm_read_bytes += stored - call.work.weight_bytes;
  call.work.weight_bytes = stored;
  call.work.hbm_write_bytes +=
      dims[0] * dims[1] *
      (bytes_per_element(activation) - bytes_per_element(activation_format(format.compute)));
  return call;
}

/// x W of the dense `cls` added to y, which is read for it.
KernelCall added(std::string_view role, const KernelClass& cls, const KernelClass::Dims& dims,
                 DType activation) {
  KernelCall call = make_call(cls, dims, activation, activation);
  call.role = role;
  call.work.hbm_read_bytes += dims[0] * dims[1] * bytes_per_element(activation);
  return call;
}

}  // namespace

void push_product(std::string_view role, const KernelClass::Dims& dims, const LinearFormat& format,
                  DType activation, KernelCalls& out) {
  const double m = dims[0], n = dims[1], k = dims[2];
  const double outliers = outlier_rows(format, k);
  LinearFormat main = format;
  main.outliers = 0, main.adapter_rank = 0;
  if (format.factored(k, n)) {
    out.push_back(product(kGemmLowRank, {m, n, k, static_cast<double>(format.rank)}, main, activation));
  } else {
    const bool sparse = format.sparsity.keep == 2 && format.sparsity.of == 4;
    out.push_back(product(sparse ? kGemmSparse24 : kGemm, {m, n, k - outliers}, main, activation));
  }
  out.back().role = role;
  if (outliers > 0) out.push_back(added("outliers", kGemm, {m, n, outliers}, activation));
  if (format.adapter_rank > 0) {
    const auto rank = static_cast<double>(format.adapter_rank);
    out.push_back(added("adapter", kGemmLowRank, {m, n, k, rank}, activation));
  }
}

const Registration<KernelClasses> gemm_sparse24_class{"gemm_sparse24", "matrix product, weights 2:4 sparse",
                                                      &kGemmSparse24};
const Registration<KernelClasses> gemm_lowrank_class{
    "gemm_lowrank", "product with a pair of low-rank factors", &kGemmLowRank};

}  // namespace orrery
