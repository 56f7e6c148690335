#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// RMSNorm or LayerNorm with an optional residual addition: stream += x (when x is given), y = norm(stream) *
/// weight (+ bias). stream, x, y [tokens, width] row-major, weight and bias [width]; width a multiple of 8,
/// at most 16384. With `y_fp8` the result is divided by `fp8_scale` and written there instead of to `y`.
struct NormArgs {
  bf16* stream = nullptr;
  const bf16* x = nullptr;  ///< nullptr: nothing is added, stream is only read
  const bf16* weight = nullptr;
  const bf16* bias = nullptr;
  bf16* y = nullptr;
  fp8* y_fp8 = nullptr;
  float fp8_scale = 1.0F;
  std::int64_t tokens = 0;
  int width = 0;
  bool subtract_mean = false;  ///< LayerNorm
  float epsilon = 1e-5F;
};
void norm_rows(const NormArgs& args, StreamRef stream);

/// RMSNorm of each head's query and key in place (Qwen3): the first `heads` + `kv_heads` heads of each row of
/// qkv [tokens, row_width], each of head_dim (a multiple of 8, at most 256).
struct QkNormArgs {
  bf16* qkv = nullptr;
  const bf16* q_weight = nullptr;
  const bf16* k_weight = nullptr;
  std::int64_t tokens = 0;
  int row_width = 0, heads = 0, kv_heads = 0, head_dim = 0;
  float epsilon = 1e-6F;
};
void qk_norm(const QkNormArgs& args, StreamRef stream);

}  // namespace orrery::kernels
