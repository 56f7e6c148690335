#pragma once

#include "device/select.cuh"

namespace orrery::kernels {

// Stable sort by small keys, in tiles: each tile counts its keys (count_keys_kernel), then each finds where
// its items of every key begin from the counts of all tiles (tile_bases), and their order within the tile by
// comparing keys within warps (stable_ranks; as the multisplit of Ashkiani et al., 2016). Nothing depends on
// the order in which blocks run. A block of kSortThreads handles one tile.

inline constexpr int kSortThreads = 256, kSortWarps = kSortThreads / kWarpSize;
inline constexpr int kSortEach = 8, kSortTile = kSortThreads * kSortEach;  // items per thread, per block
inline constexpr int kSortBins = 512;                                      // keys are 0 .. kSortBins - 1

constexpr ORRERY_HOST_DEVICE int sort_tiles(std::int64_t items) {
  return static_cast<int>(ceil_div<std::int64_t>(items, kSortTile));
}

struct SortShared {
  std::uint16_t counts[kSortWarps][kSortBins];  // of a warp's items; then of those of the warps before it
  int totals[kSortBins];                        // of the tile's items
  int bases[kSortBins];                         // where the tile's items of a key begin
  int scan[kSortWarps];
};

/// An item of this thread within its tile.
ORRERY_DEVICE int sort_item(int i) {
  return static_cast<int>(threadIdx.x) / kWarpSize * (kSortTile / kSortWarps) + i * kWarpSize + lane_id();
}

/// Items of the tile with the same key before each of this thread's, and shared.totals. Keys of -1 are no
/// items.
ORRERY_DEVICE void stable_ranks(const int (&keys)[kSortEach], int (&ranks)[kSortEach], int bins,
                                SortShared& shared) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize;
  std::uint16_t* const counts = shared.counts[warp];
  for (int bin = lane_id(); bin < bins; bin += kWarpSize) counts[bin] = 0;
  warp_sync();
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    const unsigned peers = match_any(static_cast<unsigned>(keys[i]));
    const int before = __popc(peers & ((1U << lane_id()) - 1));
    const int start = keys[i] >= 0 ? counts[keys[i]] : 0;
    ranks[i] = start + before;
    warp_sync();
    if (keys[i] >= 0 && before == 0) counts[keys[i]] = static_cast<std::uint16_t>(start + __popc(peers));
    warp_sync();
  }
  __syncthreads();
  for (int bin = thread; bin < bins; bin += kSortThreads) {
    int sum = 0;
    for (int w = 0; w < kSortWarps; ++w) {
      const int count = shared.counts[w][bin];
      shared.counts[w][bin] = static_cast<std::uint16_t>(sum), sum += count;
    }
    shared.totals[bin] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) ranks[i] += keys[i] >= 0 ? counts[keys[i]] : 0;
}

/// After stable_ranks: shared.bases for the tile, from counts [tiles][bins] of all (not read when there is
/// one). Each key's items begin at a multiple of `alignment`. Calls whole(bin, start, count) once for each
/// key with its place among all items, and returns where the last key's end.
template <class Whole>
ORRERY_DEVICE int tile_bases(const int* counts, int tile, int tiles, int bins, int alignment, Whole&& whole,
                             SortShared& shared) {
  constexpr int each = kSortBins / kSortThreads;
  int all[each], before[each], mine = 0, end;
#pragma unroll
  for (int j = 0; j < each; ++j) {
    const int bin = static_cast<int>(threadIdx.x) * each + j;
    all[j] = before[j] = 0;
    if (bin >= bins) continue;
    if (tiles == 1) all[j] = shared.totals[bin];
    for (int t = 0; tiles > 1 && t < tiles; ++t) {
      const int count = counts[t * bins + bin];
      all[j] += count, before[j] += t < tile ? count : 0;
    }
    mine += ceil_div(all[j], alignment) * alignment;
  }
  int start = exclusive_scan<kSortWarps>(mine, shared.scan, end);
#pragma unroll
  for (int j = 0; j < each; ++j) {
    const int bin = static_cast<int>(threadIdx.x) * each + j;
    if (bin >= bins) continue;
    shared.bases[bin] = start + before[j];
    whole(bin, start, all[j]);
    start += ceil_div(all[j], alignment) * alignment;
  }
  __syncthreads();
  return end;
}

/// Counts [lists][tiles][bins] of keys[i] >> shift & mask, keys [lists][items]: one block per tile (x) and
/// list (y).
inline __global__ void __launch_bounds__(kSortThreads)
    count_keys_kernel(const std::int32_t* keys, int* counts, int items, int bins, int shift, int mask) {
  __shared__ int histogram[kSortBins];
  const int thread = static_cast<int>(threadIdx.x);
  const std::size_t list = blockIdx.y;
  keys += list * static_cast<std::size_t>(items);
  counts += (list * gridDim.x + blockIdx.x) * static_cast<std::size_t>(bins);
  for (int bin = thread; bin < bins; bin += kSortThreads) histogram[bin] = 0;
  __syncthreads();
  const int first = static_cast<int>(blockIdx.x) * kSortTile;
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    const int item = first + i * kSortThreads + thread;
    if (item < items) atomicAdd(&histogram[keys[item] >> shift & mask], 1);
  }
  __syncthreads();
  for (int bin = thread; bin < bins; bin += kSortThreads) counts[bin] = histogram[bin];
}

}  // namespace orrery::kernels
