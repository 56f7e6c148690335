#pragma once

#include "device/async_copy.cuh"
#include "device/mma.cuh"
#include "device/split_k.cuh"
#include "device/swizzle.cuh"
#include "gemm_grouped.hpp"

// Device code of gemm_grouped.cu. The tiles of all experts are numbered on the device from the experts' row
// counts; the blocks of a fixed grid take every gridDim-th of them, and the copies of a block's next tile
// begin while it still multiplies the one before. Where there are fewer tiles than blocks, several share a
// tile's k, and the last of them to finish adds the parts in order.

namespace orrery::kernels::grouped {

inline constexpr int kTileN = 128;                  // columns of a tile
inline constexpr int kRowBytes = 128, kChunks = 8;  // of a row of a step; its 16-byte parts
template <class E>
inline constexpr int kDepth = kRowBytes / static_cast<int>(sizeof(E));  // elements of k in a step
inline constexpr int kThreads = 128;
inline constexpr int kBand = 16;       // tiles down that run side by side: their rows of W meet in L2
inline constexpr int kLeastSteps = 4;  // of a block that shares a tile

/// m_rows x 128, by 4 warps, m_warps of them one above the other; `resident`: blocks meant to share an SM.
template <int m_rows, int m_warps, int stages, int resident>
struct Tile {
  static constexpr int kM = m_rows, kStages = stages, kResident = resident;
  static constexpr int kNWarps = kThreads / kWarpSize / m_warps;
  static constexpr int kWarpM = m_rows / m_warps, kWarpN = kTileN / kNWarps;
  static constexpr int kDown = kWarpM / 16, kAcross = kWarpN / 8;  // fragments of a warp
  static constexpr int kStageBytes = (m_rows + kTileN) * kRowBytes;
  static constexpr int kXRows = m_rows * kChunks / kThreads;  // of a step, parts of which a thread copies
  static constexpr int kWRows = kTileN * kChunks / kThreads;
  static_assert(m_rows * kChunks % kThreads == 0 && kWarpM % 16 == 0 && kWarpN % 16 == 0);
};
// Stages in flight for the narrow tile, whose time is the reading of W; 64 x 64 per warp for the wide one, so
// that shared memory keeps up with the tensor cores.
using Tile16 = Tile<16, 1, 4, 3>;
using Tile64 = Tile<64, 2, 4, 2>;
using Tile128 = Tile<128, 2, 3, 2>;

/// Where the experts' tiles begin among all, and how they are divided.
struct Plan {
  int tiles_before[kMaxGroupedExperts + 1];
  int splits, steps;  // blocks that share a tile, and steps of k for each
};

/// Made by the first warp; for all after a barrier.
template <class E, class T>
ORRERY_DEVICE void make_plan(const GroupedGemmArgs& args, Plan& plan) {
  if (threadIdx.x < kWarpSize) {
    const int lane = lane_id(), across = ceil_div(args.n, kTileN);
    int before = 0;
    for (int first = 0; first < args.experts; first += kWarpSize) {
      const int expert = first + lane;
      int upto = expert < args.experts ? ceil_div(args.count[expert], T::kM) * across : 0;
      const int own = upto;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int other = shfl_up(upto, step);
        if (lane >= step) upto += other;
      }
      if (expert < args.experts) plan.tiles_before[expert] = before + upto - own;
      before += shfl(upto, kWarpSize - 1);
    }
    if (lane == 0) {
      const int steps = ceil_div(args.k, kDepth<E>), blocks = static_cast<int>(gridDim.x);
      const int most = steps / kLeastSteps;
      int splits = before > 0 ? blocks / before : 1;
      splits = splits > most ? most : splits;
      plan.steps = ceil_div(steps, splits > 1 ? splits : 1), plan.splits = ceil_div(steps, plan.steps);
      plan.tiles_before[args.experts] = before;
    }
  }
  __syncthreads();
}

/// What a block does at a time: a tile, or its part of one's k.
struct Unit {
  int expert, tile, split;
  int row, rows;   // first row of x and y, and how many of the tile are the expert's
  int column;      // first row of W
  int begin, end;  // steps of k
};

template <class E, class T>
ORRERY_DEVICE Unit find_unit(const GroupedGemmArgs& args, const Plan& plan, int number) {
  Unit unit;
  unit.tile = number / plan.splits, unit.split = number % plan.splits;
  int low = 0, high = args.experts;  // the last expert whose tiles begin at or before this one
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (plan.tiles_before[middle] <= unit.tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  unit.expert = low;
  const int local = unit.tile - plan.tiles_before[low], across = ceil_div(args.n, kTileN);
  const int count = args.count[low], down = ceil_div(count, T::kM);
  const int first = local / (kBand * across) * kBand;
  const int band = down - first < kBand ? down - first : kBand, within = local - first * across;
  const int offset = (first + within % band) * T::kM;
  unit.row = args.start[low] + offset, unit.rows = count - offset < T::kM ? count - offset : T::kM;
  unit.column = within / band * kTileN;
  const int steps = ceil_div(args.k, kDepth<E>);
  unit.begin = unit.split * plan.steps;
  unit.end = unit.begin + plan.steps < steps ? unit.begin + plan.steps : steps;
  return unit;
}

/// Runs ahead of the multiplication through the steps of all of the block's units.
template <class E, class T>
class Loader {
 public:
  ORRERY_DEVICE Loader(const GroupedGemmArgs& args, const Plan& plan, int units)
      : args_(args), plan_(plan), units_(units), number_(static_cast<int>(blockIdx.x)) {
    turn_to_unit();
  }

  /// Begins the copies of the next step, if there is one, and closes their group.
  ORRERY_DEVICE void next(unsigned char* stage) {
    if (number_ < units_) {
      const int at = step_ * kDepth<E> + chunk() * kPerLoad<E>;
      const bool inside = at < args_.k;
#pragma unroll
      for (int i = 0; i < T::kXRows; ++i) {
        const bool valid = inside && x_rows_[i] >= 0;
        const E* from = static_cast<const E*>(args_.x) +
                        (valid ? static_cast<std::int64_t>(x_rows_[i]) * args_.k + at : 0);
        async_copy16(stage + place(i), from, valid);
      }
      stage += T::kM * kRowBytes;
#pragma unroll
      for (int i = 0; i < T::kWRows; ++i) {
        const bool valid = inside && column_ + i * kRowsAtOnce < args_.n;
        const E* from = w_ + (valid ? static_cast<std::int64_t>(i * kRowsAtOnce) * args_.k + at : 0);
        async_copy16(stage + place(i), from, valid);
      }
      if (++step_ == end_) number_ += static_cast<int>(gridDim.x), turn_to_unit();
    }
    async_commit();
  }

 private:
  static constexpr int kRowsAtOnce = kThreads / kChunks;  // of a step, copied by the block at a time

  ORRERY_DEVICE static int chunk() {
    return static_cast<int>(threadIdx.x) % kChunks;
  }
  ORRERY_DEVICE static int first_row() {
    return static_cast<int>(threadIdx.x) / kChunks;
  }
  ORRERY_DEVICE static int place(int i) {
    const int row = first_row() + i * kRowsAtOnce;
    return (row * kChunks + swizzle<kChunks>(row, chunk())) * 16;
  }

  ORRERY_DEVICE void turn_to_unit() {
    if (number_ >= units_) return;
    const Unit unit = find_unit<E, T>(args_, plan_, number_);
    step_ = unit.begin, end_ = unit.end;
    column_ = unit.column + first_row();
    const int w_row = column_ < args_.n ? column_ : 0;  // of a row that is not, nothing is read
    w_ =
        static_cast<const E*>(args_.w) + (static_cast<std::int64_t>(unit.expert) * args_.n + w_row) * args_.k;
#pragma unroll
    for (int i = 0; i < T::kXRows; ++i) {
      const int row = first_row() + i * kRowsAtOnce;
      x_rows_[i] = row >= unit.rows         ? -1
                   : args_.token != nullptr ? args_.token[unit.row + row]
                                            : unit.row + row;
    }
  }

  const GroupedGemmArgs& args_;
  const Plan& plan_;
  int units_, number_, step_ = 0, end_ = 0, column_ = 0;
  const E* w_ = nullptr;
  int x_rows_[T::kXRows] = {};
};

template <class T>
using Sums = float[T::kDown][T::kAcross][4];

/// 32 bytes of k: fragments of both formats lie alike.
template <class E>
ORRERY_DEVICE void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<E, fp8>) {
    mma_m16n8k32_fp8(sums, a, b);
  } else {
    mma_m16n8k16<E>(sums, a, b);
  }
}

/// One step of this warp's part of the tile.
template <class E, class T>
ORRERY_DEVICE void multiply_step(const unsigned char* stage, Sums<T>& sums) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = lane_id();
  const int m = warp / T::kNWarps * T::kWarpM, n = warp % T::kNWarps * T::kWarpN;
  const unsigned char* const w = stage + T::kM * kRowBytes;
  // All of a step at once takes more registers than there are in fp8 (nvcc 13.0 for sm_90a).
  [[maybe_unused]] constexpr int together = sizeof(E) == 1 ? 1 : kChunks / 2;
#pragma unroll together
  for (int k = 0; k < kChunks / 2; ++k) {
    std::uint32_t a[T::kDown][4];
#pragma unroll
    for (int i = 0; i < T::kDown; ++i) {
      const int row = m + i * 16 + lane % 16, chunk = 2 * k + lane / 16;
      load_matrices(
          a[i], reinterpret_cast<const bf16*>(stage + (row * kChunks + swizzle<kChunks>(row, chunk)) * 16));
    }
#pragma unroll
    for (int j = 0; j < T::kAcross; j += 2) {
      std::uint32_t b[4];
      const int row = n + j * 8 + lane % 8 + lane / 16 * 8, chunk = 2 * k + lane / 8 % 2;
      load_matrices(b,
                    reinterpret_cast<const bf16*>(w + (row * kChunks + swizzle<kChunks>(row, chunk)) * 16));
#pragma unroll
      for (int i = 0; i < T::kDown; ++i) {
        multiply<E>(sums[i][j], a[i], {b[0], b[1]});
        multiply<E>(sums[i][j + 1], a[i], {b[2], b[3]});
      }
    }
  }
}

/// Calls f(row, column, two sums side by side) for all of this thread, within the tile.
template <class T, class F>
ORRERY_DEVICE void for_each_pair(const Sums<T>& sums, F&& f) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = lane_id();
  const int m = warp / T::kNWarps * T::kWarpM + lane / 4, n = warp % T::kNWarps * T::kWarpN + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < T::kDown; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < T::kAcross; ++j)
        f(m + i * 16 + half * 8, n + j * 8, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
    }
  }
}

/// A sum as the element of y that it is, at a row of the tile and a column of y.
template <class E>
ORRERY_DEVICE bf16 element_of(const GroupedGemmArgs& args, const Unit& unit, int row, int column, float sum) {
  if constexpr (std::is_same_v<E, fp8>) {
    const int x_row = args.token != nullptr ? args.token[unit.row + row] : unit.row + row;
    sum *= args.x_scale[x_row] * args.w_scale[static_cast<std::int64_t>(unit.expert) * args.n + column];
  }
  return from_float<bf16>(sum);
}

/// The sum of all parts of a tile, by the last of its blocks. Parts are [kM][128] floats, one per unit.
template <class E, class T>
ORRERY_DEVICE void add_parts(const GroupedGemmArgs& args, const Unit& unit, const float* parts, int splits) {
  constexpr int packs = kTileN / 4;
  for (int p = static_cast<int>(threadIdx.x); p < unit.rows * packs; p += kThreads) {
    const int row = p / packs, column = unit.column + p % packs * 4;
    if (column >= args.n) continue;
    Pack<float, 4> sum{};
    for (int split = 0; split < splits; ++split) {
      const auto part = load_pack<4>(parts + (split * T::kM * packs + p) * 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum.v[e] += part.v[e];
    }
    Pack<bf16, 4> y;
#pragma unroll
    for (int e = 0; e < 4; ++e) y.v[e] = element_of<E>(args, unit, row, column + e, sum.v[e]);
    store_pack(args.y + static_cast<std::int64_t>(unit.row + row) * args.n + column, y);
  }
}

template <class E, class T>
ORRERY_DEVICE void finish(const GroupedGemmArgs& args, const Unit& unit, const Sums<T>& sums, int splits,
                          float* partials, int* counters) {
  if (splits == 1) {
    for_each_pair<T>(sums, [&](int row, int column, float low, float high) {
      column += unit.column;
      if (row >= unit.rows || column >= args.n) return;
      const Pack<bf16, 2> y{
          {element_of<E>(args, unit, row, column, low), element_of<E>(args, unit, row, column + 1, high)}};
      store_pack(args.y + static_cast<std::int64_t>(unit.row + row) * args.n + column, y);
    });
    return;
  }
  float* const parts =
      partials + static_cast<std::size_t>(unit.tile) * static_cast<unsigned>(splits * T::kM * kTileN);
  float* const own = parts + unit.split * T::kM * kTileN;
  for_each_pair<T>(sums, [&](int row, int column, float low, float high) {
    if (row < unit.rows) store_pack(own + row * kTileN + column, Pack<float, 2>{{low, high}});
  });
  if (last_of_splits(counters + unit.tile, splits)) add_parts<E, T>(args, unit, parts, splits);
}

template <class E, class T>
__global__ void __launch_bounds__(kThreads, T::kResident)
    kernel(const __grid_constant__ GroupedGemmArgs args, float* partials, int* counters) {
  ORRERY_DYNAMIC_SHARED(unsigned char, stages);
  __shared__ Plan plan;
  make_plan<E, T>(args, plan);
  const int units = plan.tiles_before[args.experts] * plan.splits;
  Loader<E, T> loader(args, plan, units);
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) loader.next(stages + s * T::kStageBytes);
  int stage = 0;
  for (int number = static_cast<int>(blockIdx.x); number < units; number += static_cast<int>(gridDim.x)) {
    const Unit unit = find_unit<E, T>(args, plan, number);
    Sums<T> sums = {};
    for (int step = unit.begin; step < unit.end; ++step) {
      async_wait<T::kStages - 2>();
      __syncthreads();  // the stage has landed, and all have left the one that is loaded next
      loader.next(stages + (stage == 0 ? T::kStages - 1 : stage - 1) * T::kStageBytes);
      multiply_step<E, T>(stages + stage * T::kStageBytes, sums);
      stage = stage + 1 == T::kStages ? 0 : stage + 1;
    }
    finish<E, T>(args, unit, sums, plan.splits, partials, counters);
  }
  async_wait<0>();
}

}  // namespace orrery::kernels::grouped
