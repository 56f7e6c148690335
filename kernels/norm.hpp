#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// RMSNorm with an optional residual addition: stream += x (when x is given), y = stream / rms(stream) *
/// weight. stream, x, y [tokens, width] row-major, weight [width]; width a multiple of 8.
struct RmsNormArgs {
  bf16* stream = nullptr;
  const bf16* x = nullptr;  ///< nullptr: nothing is added, stream is only read
  const bf16* weight = nullptr;
  bf16* y = nullptr;
  std::int64_t tokens = 0;
  int width = 0;
  float epsilon = 1e-5F;
};
void rms_norm(const RmsNormArgs& args, StreamRef stream);

}  // namespace orrery::kernels
