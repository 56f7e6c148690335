#pragma once

#include "device/numeric.cuh"
#include "ops/dtype.hpp"
#include "split_k.hpp"

namespace orrery::kernels {

// y[m,n] = x[m,k] W[n,k]^T with bf16 activations and int4 or int8 weights: W4A16 in groups of 128 along k
// with an fp16 scale and a 4-bit zero point (as AWQ, Lin et al., 2024, and GPTQ, Frantar et al., 2023), W8A16
// with a float scale per output channel. n a multiple of 16, k of 128.

/// Bytes of W, packed (gemm_packed.cuh), without the scales per channel: 4.1875 or 8 bits a weight.
std::size_t packed_weight_bytes(DType format, std::int64_t n, std::int64_t k);
/// Random weights of this format; int4's scales between 0.05 and 0.15.
void random_packed_weights(DType format, std::uint8_t* w, std::int64_t n, std::int64_t k, std::uint64_t seed,
                           StreamRef stream = nullptr);

struct QuantisedGemmArgs {
  const bf16* x = nullptr;
  const std::uint8_t* w = nullptr;
  const float* w_scale = nullptr;  ///< [n], int8 only
  bf16* y = nullptr;
  std::int64_t m = 0, n = 0, k = 0;
};
/// `format` int4 or int8; `memory` as in split_k.hpp.
void gemm_quantised(DType format, const QuantisedGemmArgs& args, const SplitK& memory, int sm_count,
                    StreamRef stream);

}  // namespace orrery::kernels
