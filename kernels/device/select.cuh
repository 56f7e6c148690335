#pragma once

#include "device/numeric.cuh"
#include "device/warp.cuh"

namespace orrery::kernels {

// Selection of the k largest of n keys by a block, without a sort: radix selection (Alabi et al., Fast
// k-Selection Algorithms for Graphics Processing Units, 2012), then the chosen in the order of their index.
// Equal keys are chosen in that order too, so that the result is one and the same whatever the launch.

/// Keys that order as the numbers do (not NaN); 0 is no number's.
ORRERY_HOST_DEVICE std::uint32_t ordered(float x) {
  const std::uint32_t bits = float_to_bits(x);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

/// Sum of x over the threads before this one of a block of `warps` warps, and over all. `scratch`: `warps`
/// numbers of shared memory, used again by the next scan without a barrier in between.
template <int warps, class T>
ORRERY_DEVICE T exclusive_scan(T x, T* scratch, T& total) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  T upto = x;
#pragma unroll
  for (int step = 1; step < kWarpSize; step *= 2) {
    const T other = shfl_up(upto, step);
    if (lane_id() >= step) upto += other;
  }
  __syncthreads();  // the sums of a scan before this one have been read
  if (lane_id() == kWarpSize - 1) scratch[warp] = upto;
  __syncthreads();
  T before = 0;
  total = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) {
    if (i < warp) before += scratch[i];
    total += scratch[i];
  }
  return before + upto - x;
}

/// The largest keys: all above `least`, and the first `ties` of those that equal it.
struct Largest {
  std::uint32_t least;
  int ties;
};

inline constexpr int kSelectThreads = 256, kSelectWarps = kSelectThreads / kWarpSize;
struct SelectShared {
  int histogram[kSelectThreads];
  int scan[kSelectWarps];
  unsigned digit;
  int above;
};

/// The `wanted` largest (1 to n) of key(i), i < n, by a block of kSelectThreads. Four digits of 8 bits.
template <class Key>
ORRERY_DEVICE Largest select_largest(int n, int wanted, Key&& key, SelectShared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  std::uint32_t prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    shared.histogram[thread] = 0;
    __syncthreads();
    for (int i = thread; i < n; i += kSelectThreads) {
      const std::uint32_t k = key(i);
      if (shift == 24 || (k ^ prefix) >> (shift + 8) == 0)
        atomicAdd(&shared.histogram[k >> shift & 0xffU], 1);
    }
    __syncthreads();
    const int digit = kSelectThreads - 1 - thread, count = shared.histogram[digit];
    int total;
    const int above = exclusive_scan<kSelectWarps>(count, shared.scan, total);
    if (above < wanted && wanted <= above + count)
      shared.digit = static_cast<unsigned>(digit), shared.above = above;
    __syncthreads();
    prefix |= shared.digit << shift, wanted -= shared.above;
    __syncthreads();
  }
  return {prefix, wanted};
}

/// Calls emit(i, rank) for the chosen i, in their order: rank 0, 1, ...
template <class Key, class Emit>
ORRERY_DEVICE void for_each_largest(int n, Largest largest, Key&& key, Emit&& emit, SelectShared& shared) {
  constexpr int each = 4, equal = 1 << 16;  // two counts in an int: those above, those that equal
  int above_before = 0, equal_before = 0;
  for (int first = 0; first < n; first += kSelectThreads * each) {
    const int begin = first + static_cast<int>(threadIdx.x) * each;
    int kinds[each], mine = 0, total;
#pragma unroll
    for (int j = 0; j < each; ++j) {
      const std::uint32_t k = begin + j < n ? key(begin + j) : 0;
      kinds[j] = begin + j >= n ? 0 : k > largest.least ? 1 : k == largest.least ? equal : 0;
      mine += kinds[j];
    }
    const int before = exclusive_scan<kSelectWarps>(mine, shared.scan, total);
    int a = above_before + before % equal, e = equal_before + before / equal;
#pragma unroll
    for (int j = 0; j < each; ++j) {
      if (kinds[j] == 1) emit(begin + j, a++ + (e < largest.ties ? e : largest.ties));
      if (kinds[j] == equal && e++ < largest.ties) emit(begin + j, a + e - 1);
    }
    above_before += total % equal, equal_before += total / equal;
  }
}

}  // namespace orrery::kernels
