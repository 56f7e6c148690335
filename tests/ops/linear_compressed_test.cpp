#include "ops/linear_compressed.hpp"

#include <catch2/catch.hpp>

#include "ops/kernel_classes.hpp"

using namespace orrery;

TEST_CASE("does 2:4 sparsity halve the FLOPs and keep 0.5625 of 16-bit and 0.625 of 8-bit weights?",
          "[ops]") {
  const KernelClass::Dims dims{16, 4096, 14336};
  const double elements = 4096.0 * 14336;
  const auto bf16 = make_call(kGemmSparse24, dims, DType::bf16, DType::bf16).work;
  const auto dense = make_call(kGemm, dims, DType::bf16, DType::bf16).work;
  CHECK(2 * bf16.tensor_flops == dense.tensor_flops);
  CHECK(bf16.weight_bytes == 0.5625 * dense.weight_bytes);
  CHECK(bf16.hbm_read_bytes - bf16.weight_bytes == 16.0 * 14336 * 2);
  CHECK(bf16.hbm_write_bytes == dense.hbm_write_bytes);
  const auto fp8 = make_call(kGemmSparse24, dims, DType::fp8, DType::fp8).work;
  CHECK(fp8.weight_bytes == 0.625 * elements + 4096 * 4);
}

TEST_CASE("is a low-rank pair cheaper than the matrix it replaces exactly below rank n k / (n + k)?",
          "[ops]") {
  const double n = 4096, k = 12288, even = n * k / (n + k);
  const auto dense = make_call(kGemm, {7, n, k}, DType::bf16, DType::bf16).work;
  const auto pair = [&](double rank) {
    return make_call(kGemmLowRank, {7, n, k, rank}, DType::bf16, DType::bf16).work;
  };
  CHECK(pair(even).tensor_flops == dense.tensor_flops);
  CHECK(pair(even).weight_bytes == dense.weight_bytes);
  CHECK(pair(even - 1).tensor_flops < dense.tensor_flops);
  CHECK(pair(even + 1).weight_bytes > dense.weight_bytes);
  // x and y once, x A written and read.
  CHECK(pair(64).hbm_bytes() == 64 * (n + k) * 2 + 7 * (n + k + 2 * 64) * 2);
}
