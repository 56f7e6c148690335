#pragma once

#include "device/platform.cuh"

namespace orrery::kernels {

// Operations among the 32 threads of a warp; all of them take part.

inline constexpr int kWarpSize = 32;

ORRERY_DEVICE int lane_id() {
#if defined(__CUDACC__)
  return static_cast<int>(threadIdx.x) & 31;  // blocks are launched with blockDim.x a multiple of 32
#else
  return emulator::lane();
#endif
}

ORRERY_DEVICE void warp_sync() {
#if defined(__CUDACC__)
  __syncwarp();
#else
  emulator::warp_barrier();
#endif
}

/// The value of lane `from`.
template <class T>
ORRERY_DEVICE T shfl(T value, int from) {
#if defined(__CUDACC__)
  return __shfl_sync(0xffffffffU, value, from);
#else
  T all[kWarpSize];
  emulator::warp_exchange(&value, sizeof value, all);
  return all[from & 31];
#endif
}
/// The value of lane (own ^ mask).
template <class T>
ORRERY_DEVICE T shfl_xor(T value, int mask) {
#if defined(__CUDACC__)
  return __shfl_xor_sync(0xffffffffU, value, mask);
#else
  return shfl(value, lane_id() ^ mask);
#endif
}
/// The value of lane (own - delta), one's own where that does not exist.
template <class T>
ORRERY_DEVICE T shfl_up(T value, int delta) {
#if defined(__CUDACC__)
  return __shfl_up_sync(0xffffffffU, value, static_cast<unsigned>(delta));
#else
  return shfl(value, lane_id() >= delta ? lane_id() - delta : lane_id());
#endif
}
/// The value of lane (own + delta), one's own where that does not exist.
template <class T>
ORRERY_DEVICE T shfl_down(T value, int delta) {
#if defined(__CUDACC__)
  return __shfl_down_sync(0xffffffffU, value, static_cast<unsigned>(delta));
#else
  return shfl(value, lane_id() + delta < kWarpSize ? lane_id() + delta : lane_id());
#endif
}
/// Bit i is set where lane i's predicate holds.
ORRERY_DEVICE unsigned ballot(bool predicate) {
#if defined(__CUDACC__)
  return __ballot_sync(0xffffffffU, predicate);
#else
  bool all[kWarpSize];
  emulator::warp_exchange(&predicate, sizeof predicate, all);
  unsigned bits = 0;
  for (int i = 0; i < kWarpSize; ++i) bits |= all[i] ? 1U << i : 0U;
  return bits;
#endif
}

/// Bit i is set where lane i's value is this lane's.
ORRERY_DEVICE unsigned match_any(unsigned value) {
#if defined(__CUDACC__)
  return __match_any_sync(0xffffffffU, value);
#else
  unsigned all[kWarpSize], bits = 0;
  emulator::warp_exchange(&value, sizeof value, all);
  for (int i = 0; i < kWarpSize; ++i) bits |= all[i] == value ? 1U << i : 0U;
  return bits;
#endif
}
/// Largest and smallest over the lanes (one instruction on Ampere and later).
ORRERY_DEVICE unsigned warp_max(unsigned x) {
#if defined(__CUDACC__)
  return __reduce_max_sync(0xffffffffU, x);
#else
  unsigned all[kWarpSize];
  emulator::warp_exchange(&x, sizeof x, all);
  for (const unsigned other : all) x = other > x ? other : x;
  return x;
#endif
}
ORRERY_DEVICE unsigned warp_min(unsigned x) {
#if defined(__CUDACC__)
  return __reduce_min_sync(0xffffffffU, x);
#else
  unsigned all[kWarpSize];
  emulator::warp_exchange(&x, sizeof x, all);
  for (const unsigned other : all) x = other < x ? other : x;
  return x;
#endif
}

ORRERY_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x += shfl_xor(x, mask);
  return x;
}
ORRERY_DEVICE float warp_max(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shfl_xor(x, mask));
  return x;
}

/// Sum over a block of `warps` warps; every thread gets it. `scratch`: `warps` floats of shared memory, free
/// for reuse when all threads have returned and passed a barrier.
template <int warps>
ORRERY_DEVICE float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  if (lane_id() == 0) scratch[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) total += scratch[i];
  return total;
}
template <int warps>
ORRERY_DEVICE float block_max(float x, float* scratch) {
  x = warp_max(x);
  if (lane_id() == 0) scratch[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float most = scratch[0];
#pragma unroll
  for (int i = 1; i < warps; ++i) most = fmaxf(most, scratch[i]);
  return most;
}

}  // namespace orrery::kernels
