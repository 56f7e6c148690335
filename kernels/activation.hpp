#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// The activation of a gated unit.
enum class Gate : std::uint8_t { silu, gelu_tanh };

/// out[t][i] = act(gate[t][i]) * up[t][i], gate and up the halves of gate_up [tokens, 2 width] row-major;
/// width a multiple of 8. With `out_fp8` the product is divided by `fp8_scale` and written there instead of
/// to `out`.
struct GatedActivationArgs {
  const bf16* gate_up = nullptr;
  bf16* out = nullptr;
  fp8* out_fp8 = nullptr;
  float fp8_scale = 1.0F;
  std::int64_t tokens = 0;
  int width = 0;
  Gate gate = Gate::silu;
};
void gated_activation(const GatedActivationArgs& args, StreamRef stream);

/// out = a + b, n elements, a multiple of 8; out may be a.
void residual_add(bf16* out, const bf16* a, const bf16* b, std::int64_t n, StreamRef stream);

}  // namespace orrery::kernels
