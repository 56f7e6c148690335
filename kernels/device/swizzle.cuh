#pragma once

#include "device/platform.cuh"

namespace orrery::kernels {

/// Where 16-byte chunk `chunk` of row `row` lies in a tile of rows of `chunks` chunks in shared memory: at
/// (row chunks + result) 16 bytes, so that equal chunks of eight rows after each other (what ldmatrix reads)
/// cover all banks. `chunks`: a power of two or a multiple of 8.
template <int chunks>
ORRERY_DEVICE int swizzle(int row, int chunk) {
  static_assert(chunks % 8 == 0 || 8 % chunks == 0);
  if constexpr (chunks % 8 == 0) {
    return chunk ^ row % 8;
  } else {
    return chunk ^ row / (8 / chunks) % chunks;
  }
}

}  // namespace orrery::kernels
