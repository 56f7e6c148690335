#pragma once

#include "device/platform.cuh"

namespace orrery::kernels {

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014): every bit of the result depends on every bit of z.
ORRERY_HOST_DEVICE std::uint64_t mix(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
  return z ^ z >> 31;
}

}  // namespace orrery::kernels
