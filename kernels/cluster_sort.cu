#include "base/error.hpp"
#include "cluster_sort.hpp"
#include "device/async_copy.cuh"
#include "device/counting_sort.cuh"
#include "device/mma.cuh"
#include "device/swizzle.cuh"

// Keys put into buckets, for attention within buckets or over the nearest clusters: LSH (Kitaev et al.,
// Reformer, 2020) and assignment to centroids (k-means; Roy et al., Routing Transformer, 2021; Liu et al.,
// ClusterKV, 2024), then a stable radix sort by bucket.
//
// The assignment is a product whose results stay in registers: bound by mma.sync from some 200 vectors on
// (aim: 50% of the dense bf16 peak on Ampere, 30% on Hopper), by reading the keys below. The sort moves 4
// bytes per key and pass, and is bound by latency below some ten thousand keys.

namespace orrery::kernels {
namespace {

// ---- buckets

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
constexpr int kKeys = kWarps * 16, kVectors = 32;  // of a block; of a step

/// A key's best vector so far.
struct Best {
  float score = -INFINITY;
  int bucket = 0;
  ORRERY_DEVICE void offer(float other, int of) {
    if (other > score || (other == score && of < bucket)) score = other, bucket = of;
  }
};

/// Begins the copy of rows [first, first + rows) of `count`, `stride` elements apart, to a swizzled tile;
/// zeros for those that do not exist.
template <int rows, int dim>
ORRERY_DEVICE void copy_rows(bf16* tile, const bf16* from, std::int64_t stride, int first, int count) {
  constexpr int chunks = dim / 8;
  for (int c = static_cast<int>(threadIdx.x); c < rows * chunks; c += kThreads) {
    const int row = c / chunks, chunk = c % chunks;
    const bool valid = first + row < count;
    async_copy16(tile + (row * chunks + swizzle<chunks>(row, chunk)) * 8,
                 from + (valid ? (first + row) * stride + chunk * 8 : 0), valid);
  }
}

/// blockIdx: 64 keys, head. Each warp has 16 keys in registers and passes all vectors by them, 32 at a time.
template <int dim>
__global__ void __launch_bounds__(kThreads) assign_kernel(AssignBucketsArgs args) {
  constexpr int chunks = dim / 8;
  ORRERY_DYNAMIC_SHARED(bf16, keys);
  bf16* const stages = keys + kKeys * dim;
  const int head = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * kKeys;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = lane_id(), count = args.vector_count;
  const bf16* vectors = args.vectors + static_cast<std::int64_t>(head) * count * dim;
  const float* offsets = args.offsets == nullptr ? nullptr : args.offsets + std::int64_t{head} * count;
  copy_rows<kKeys, dim>(keys, args.keys + head * dim, static_cast<std::int64_t>(args.heads) * dim, first,
                        args.tokens);
  copy_rows<kVectors, dim>(stages, vectors, dim, 0, count);
  async_commit();
  async_wait<0>();
  __syncthreads();
  std::uint32_t a[dim / 16][4];
#pragma unroll
  for (int k = 0; k < dim / 16; ++k) {
    const int row = warp * 16 + lane % 16;
    load_matrices(a[k], keys + (row * chunks + swizzle<chunks>(row, 2 * k + lane / 16)) * 8);
  }
  Best best[2];
  for (int at = 0, step = 0; at < count; at += kVectors, ++step) {
    async_wait<0>();
    __syncthreads();  // the stage has landed, and all have left the one that is loaded next
    if (at + kVectors < count)
      copy_rows<kVectors, dim>(stages + (step + 1) % 2 * kVectors * dim, vectors, dim, at + kVectors, count);
    async_commit();
    const bf16* stage = stages + step % 2 * kVectors * dim;
#pragma unroll
    for (int j = 0; j < kVectors; j += 16) {
      float sums[2][4] = {};
#pragma unroll
      for (int k = 0; k < dim / 16; ++k) {
        std::uint32_t b[4];
        const int row = j + lane % 8 + lane / 16 * 8;
        load_matrices(b, stage + (row * chunks + swizzle<chunks>(row, 2 * k + lane / 8 % 2)) * 8);
        mma_m16n8k16<bf16>(sums[0], a[k], {b[0], b[1]});
        mma_m16n8k16<bf16>(sums[1], a[k], {b[2], b[3]});
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int vector = at + j + i / 4 * 8 + lane % 4 * 2 + i % 2;
        if (vector >= count) continue;
        const float score = sums[i / 4][i % 4];
        best[i % 4 / 2].offer(offsets == nullptr ? score : score - offsets[vector], vector);
        if (args.opposites) best[i % 4 / 2].offer(-score, vector + count);
      }
    }
  }
  async_wait<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2)
      best[half].offer(shfl_xor(best[half].score, mask), shfl_xor(best[half].bucket, mask));
    const int token = first + warp * 16 + half * 8 + lane / 4;
    if (lane % 4 == 0 && token < args.tokens)
      args.buckets[static_cast<std::int64_t>(head) * args.tokens + token] = best[half].bucket;
  }
}

// ---- the sort

constexpr int kDigit = 9;
static_assert(1 << kDigit == kSortBins && kMaxBuckets == kSortBins * kSortBins);

constexpr int sort_passes(int bucket_count) {
  return bucket_count <= kSortBins ? 1 : 2;
}

/// One digit: keys and their tokens to where they belong. blockIdx: tile, head. `tokens` nullptr: they are in
/// order yet.
struct ScatterArgs {
  const std::int32_t* keys;
  const std::int32_t* tokens;
  const std::int32_t* counts;
  std::int32_t* sorted;
  std::int32_t* order;
  int count, bins, shift;
};
__global__ void __launch_bounds__(kSortThreads, 2) scatter_kernel(ScatterArgs args) {
  __shared__ SortShared shared;
  const int tile = static_cast<int>(blockIdx.x), tiles = static_cast<int>(gridDim.x),
            first = tile * kSortTile;
  const std::int64_t own = static_cast<std::int64_t>(blockIdx.y) * args.count;
  int digits[kSortEach], ranks[kSortEach];
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    const int item = first + sort_item(i);
    digits[i] = item < args.count ? args.keys[own + item] >> args.shift & (kSortBins - 1) : -1;
  }
  stable_ranks(digits, ranks, args.bins, shared);
  const std::int32_t* counts = args.counts + static_cast<std::int64_t>(blockIdx.y) * tiles * args.bins;
  tile_bases(
      counts, tile, tiles, args.bins, 1, [](int, int, int) {}, shared);
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    if (digits[i] < 0) continue;
    const int item = first + sort_item(i);
    const std::int64_t to = own + shared.bases[digits[i]] + ranks[i];
    args.sorted[to] = args.keys[own + item];  // read once more rather than kept in registers
    args.order[to] = args.tokens == nullptr ? item : args.tokens[own + item];
  }
}

}  // namespace

std::size_t assign_buckets_shared_bytes(int head_dim) {
  return static_cast<std::size_t>((kKeys + 2 * kVectors) * head_dim) * sizeof(bf16);
}

void assign_buckets(const AssignBucketsArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  ORRERY_CHECK(args.vector_count >= 1, "no vectors to be near to");
  const dim3 grid(static_cast<unsigned>(ceil_div(args.tokens, kKeys)), static_cast<unsigned>(args.heads));
  const auto run = [&](auto dim) {
    launch(assign_kernel<dim()>, {grid, dim3(kThreads), assign_buckets_shared_bytes(args.head_dim), stream},
           args);
  };
  if (args.head_dim == 64) return run(std::integral_constant<int, 64>{});
  if (args.head_dim == 128) return run(std::integral_constant<int, 128>{});
  ORRERY_CHECK(args.head_dim == 256, "a head size that bucketing has no kernel for");
  run(std::integral_constant<int, 256>{});
}

std::size_t sort_by_bucket_workspace(int tokens, int heads, int bucket_count) {
  const auto all = static_cast<std::size_t>(heads), tiles = static_cast<std::size_t>(sort_tiles(tokens));
  const std::size_t between = sort_passes(bucket_count) > 1 ? 2 * static_cast<std::size_t>(tokens) : 0;
  return all * (tiles * kSortBins + between);
}

void sort_by_bucket(const SortByBucketArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  const int passes = sort_passes(args.bucket_count), tiles = sort_tiles(args.tokens);
  ORRERY_CHECK(args.bucket_count <= kMaxBuckets, "more buckets than two digits");
  const LaunchShape shape{dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(args.heads)),
                          dim3(kSortThreads), 0, stream};
  const std::size_t all = static_cast<std::size_t>(args.heads) * static_cast<std::size_t>(args.tokens);
  std::int32_t* const between =
      args.workspace + static_cast<std::size_t>(args.heads) * static_cast<std::size_t>(tiles) * kSortBins;
  for (int pass = 0; pass < passes; ++pass) {
    const bool last = pass + 1 == passes;
    ScatterArgs s{args.buckets, nullptr,     args.workspace, args.sorted,
                  args.order,   args.tokens, kSortBins,      pass * kDigit};
    if (pass > 0) s.keys = between, s.tokens = between + all;
    if (!last) s.sorted = between, s.order = between + all;
    if (passes == 1) s.bins = args.bucket_count;
    if (tiles > 1) {
      launch(count_keys_kernel, shape, s.keys, args.workspace, args.tokens, s.bins, s.shift, kSortBins - 1);
    }
    launch(scatter_kernel, shape, s);
  }
}

}  // namespace orrery::kernels
