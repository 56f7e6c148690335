#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// What one scale of quantised activations covers.
enum class ActivationScale : std::uint8_t {
  token,     ///< scale[tokens], from each row's largest element
  group128,  ///< scale[ceil(width/128)][tokens], from the largest of 128 neighbours (DeepSeek-V3,
             ///< 2024, 3.3.2)
  given,     ///< scale[1], read: calibrated beforehand
};

/// x = scale * out, rounded: out = x / scale, scale = largest |x| / 448 (fp8, E4M3) or / 127 (int8). x, out
/// [tokens, width] row-major, width a multiple of 8, at most 32768. Scales lie as gemm.hpp's x_scale.
struct QuantiseArgs {
  const bf16* x = nullptr;
  fp8* out_fp8 = nullptr;  ///< this or
  std::int8_t* out_int8 = nullptr;
  float* scale = nullptr;
  std::int64_t tokens = 0;
  int width = 0;
  ActivationScale kind = ActivationScale::token;
};
void quantise(const QuantiseArgs& args, StreamRef stream);

}  // namespace orrery::kernels
