#pragma once

#include "device/platform.cuh"

namespace orrery::kernels {

/// Whether this block is the last of `splits` to arrive at `counter`, which is zero again then. All threads
/// of a one-dimensional block call it, and get the same answer; what the other blocks' threads wrote before
/// they called is visible to the last.
ORRERY_DEVICE bool last_of_splits(int* counter, int splits) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1) == splits - 1;
    if (last) *counter = 0;
    __threadfence();  // with the counter: what others wrote before they arrived is read after it
  }
  __syncthreads();
  return last;
}

}  // namespace orrery::kernels
