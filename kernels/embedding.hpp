#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// out[i] = table[ids[i]]: table [vocab, width], ids [tokens] on the device, out [tokens, width]; width a
/// multiple of 8.
void embed(bf16* out, const bf16* table, const std::int32_t* ids, std::int64_t tokens, int width,
           StreamRef stream);

/// The same gather of whole rows for any use: the last hidden state of each sequence before the LM head.
inline void gather_rows(bf16* out, const bf16* rows, const std::int32_t* which, std::int64_t n, int width,
                        StreamRef stream) {
  embed(out, rows, which, n, width, stream);
}

}  // namespace orrery::kernels
