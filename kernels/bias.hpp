#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// rows[t][i] += bias[i]: rows [tokens, width] in place, width a multiple of 8. What a projection's epilogue
/// would do; here a kernel of its own, since none of the GEMMs has it.
void add_bias(bf16* rows, const bf16* bias, std::int64_t tokens, int width, StreamRef stream);

}  // namespace orrery::kernels
