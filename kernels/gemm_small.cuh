#pragma once

#include "device/mma.cuh"
#include "device/numeric.cuh"
#include "device/split_k.cuh"
#include "device/warp.cuh"

// GEMMs of few rows, bounded by the reading of W: every weight is read once in 16-byte accesses, straight
// into registers. Aim: 85% of the bandwidth of a device copy.

namespace orrery::kernels {

template <class T>
struct SmallGemmArgs {
  const T* x = nullptr;
  const T* w = nullptr;
  T* y = nullptr;
  int m = 0;
  std::int64_t n = 0;
  int k = 0;  ///< a multiple of 8
  // flat only:
  float* partials = nullptr;
  int* counters = nullptr;
  int splits = 1, steps = 0;  ///< steps of 32 along k for each split
};

inline constexpr int kGemvRows = 4;  ///< rows of W a block computes

/// m <= 4 rows on the ordinary units: the block's warps share the rows' k, 4 loads of W in flight per thread.
template <class T, int m, int warps>
__global__ void __launch_bounds__(warps* kWarpSize) gemv_kernel(SmallGemmArgs<T> args) {
  constexpr int per = kPerLoad<T>;
  __shared__ float scratch[warps][kGemvRows * m];
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kGemvRows;
  const T* rows[kGemvRows];
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
    const std::int64_t row = first + r < args.n ? first + r : args.n - 1;
    rows[r] = args.w + row * args.k;
  }
  float sums[kGemvRows][m] = {};
  const int packs = args.k / per, thread = static_cast<int>(threadIdx.x);
#pragma unroll 2
  for (int pack = thread; pack < packs; pack += warps * kWarpSize) {
    Pack<T, per> w[kGemvRows];
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) w[r] = load_pack<per>(rows[r] + pack * per);
#pragma unroll
    for (int i = 0; i < m; ++i) {
      const auto x = load_pack<per>(args.x + static_cast<std::int64_t>(i) * args.k + pack * per);
#pragma unroll
      for (int j = 0; j < per; ++j) {
        const float element = to_float(x.v[j]);
#pragma unroll
        for (int r = 0; r < kGemvRows; ++r) sums[r][i] += to_float(w[r].v[j]) * element;
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
#pragma unroll
    for (int i = 0; i < m; ++i) {
      const float sum = warp_sum(sums[r][i]);
      if (lane_id() == 0) scratch[thread / kWarpSize][r * m + i] = sum;
    }
  }
  __syncthreads();
  const int r = thread / m, i = thread % m;
  if (thread < kGemvRows * m && first + r < args.n) {
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < warps; ++warp) sum += scratch[warp][thread];
    args.y[i * args.n + first + r] = from_float<T>(sum);
  }
}

inline constexpr int kFlatRows = 64;  ///< rows of W a block computes
inline constexpr int kFlatWarps = 8;
inline constexpr int kFlatPitch = kFlatRows + 4;  ///< of a column of sums in shared memory: no bank conflicts

/// One step along k: 32 elements of 64 rows of W and of 8 * tiles rows of x. A lane's 16 bytes are 8
/// neighbours along k of rows lane / 4 and lane / 4 + 8: tensor cores may see k in any order, if both
/// operands have it.
template <class T, int tiles>
ORRERY_DEVICE void flat_step(const SmallGemmArgs<T>& args, std::int64_t first, int step,
                             float (&sums)[kFlatRows / 16][tiles][4]) {
  const int g = lane_id() / 4, k = step * 32 + lane_id() % 4 * 8;
  const bool inside = k < args.k;
  using Words = Pack<std::uint32_t, 4>;
  const auto load = [&](const T* matrix, std::int64_t row, std::int64_t rows) {
    if (!inside || row >= rows) return Words{};
    return load_pack<4>(reinterpret_cast<const std::uint32_t*>(matrix + row * args.k + k));
  };
  Words w[kFlatRows / 16][2], x[tiles];
#pragma unroll
  for (int i = 0; i < kFlatRows / 16; ++i) {
    w[i][0] = load(args.w, first + i * 16 + g, args.n);
    w[i][1] = load(args.w, first + i * 16 + g + 8, args.n);
  }
#pragma unroll
  for (int j = 0; j < tiles; ++j) x[j] = load(args.x, j * 8 + g, args.m);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < kFlatRows / 16; ++i) {
      const std::uint32_t a[4] = {w[i][0].v[2 * half], w[i][1].v[2 * half], w[i][0].v[2 * half + 1],
                                  w[i][1].v[2 * half + 1]};
#pragma unroll
      for (int j = 0; j < tiles; ++j) {
        const std::uint32_t b[2] = {x[j].v[2 * half], x[j].v[2 * half + 1]};
        mma_m16n8k16<T>(sums[i][j], a, b);
      }
    }
  }
}

/// m <= 8 * tiles rows on the tensor cores, W as the 16-row operand so that n fills it and m pads to 8 only
/// (FlashDecoding++, Hong et al., 2024, section 4). The warps of a block, and blocks along y, share k.
template <class T, int tiles>
__global__ void __launch_bounds__(kFlatWarps* kWarpSize, 2) flat_kernel(SmallGemmArgs<T> args) {
  __shared__ float parts[kFlatWarps][8 * tiles][kFlatPitch];
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kFlatRows;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize;
  const int begin = static_cast<int>(blockIdx.y) * args.steps, all = ceil_div(args.k, 32);
  const int end = begin + args.steps < all ? begin + args.steps : all;
  float sums[kFlatRows / 16][tiles][4] = {};
#pragma unroll 2
  for (int step = begin + warp; step < end; step += kFlatWarps) flat_step(args, first, step, sums);

  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int i = 0; i < kFlatRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < tiles; ++j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) parts[warp][j * 8 + 2 * t + c % 2][i * 16 + g + c / 2 * 8] = sums[i][j][c];
    }
  }
  __syncthreads();

  constexpr int columns = kFlatWarps * kWarpSize / kFlatRows;  // of x, done at once
  const int row = thread % kFlatRows;
  const std::int64_t at = first + row;
#pragma unroll
  for (int column = thread / kFlatRows; column < 8 * tiles; column += columns) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kFlatWarps; ++w) sum += parts[w][column][row];
    if (column >= args.m || at >= args.n) continue;
    if (args.splits == 1) {
      args.y[column * args.n + at] = from_float<T>(sum);
    } else {
      args.partials[(static_cast<std::int64_t>(blockIdx.y) * args.m + column) * args.n + at] = sum;
    }
  }
  if (args.splits == 1 || !last_of_splits(args.counters + blockIdx.x, args.splits)) return;
  for (int column = thread / kFlatRows; column < args.m; column += columns) {
    if (at >= args.n) continue;
    float sum = 0;
    for (int s = 0; s < args.splits; ++s) {
      sum += args.partials[(static_cast<std::int64_t>(s) * args.m + column) * args.n + at];
    }
    args.y[column * args.n + at] = from_float<T>(sum);
  }
}

template <class T, int m>
void gemv_rows(const SmallGemmArgs<T>& args, StreamRef stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(args.n, kGemvRows)));
  if (args.k <= 1024) {
    launch(gemv_kernel<T, m, 4>, {grid, dim3(4 * kWarpSize), 0, stream}, args);
  } else {
    launch(gemv_kernel<T, m, 8>, {grid, dim3(8 * kWarpSize), 0, stream}, args);
  }
}

/// m 1..4, k a multiple of 8.
template <class T>
void gemv(const SmallGemmArgs<T>& args, StreamRef stream) {
  switch (args.m) {
    case 1:
      return gemv_rows<T, 1>(args, stream);
    case 2:
      return gemv_rows<T, 2>(args, stream);
    case 3:
      return gemv_rows<T, 3>(args, stream);
    default:
      return gemv_rows<T, 4>(args, stream);
  }
}

/// m 1..16, k a multiple of 8; splits and steps as planned with kFlatRows rows a tile.
template <class T>
void flat(const SmallGemmArgs<T>& args, StreamRef stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(args.n, kFlatRows)),
                  static_cast<unsigned>(args.splits));
  const LaunchShape shape{grid, dim3(kFlatWarps * kWarpSize), 0, stream};
  if (args.m <= 8) {
    launch(flat_kernel<T, 1>, shape, args);
  } else {
    launch(flat_kernel<T, 2>, shape, args);
  }
}

}  // namespace orrery::kernels
