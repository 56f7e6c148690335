#pragma once

#include <algorithm>

#include "device/async_copy.cuh"
#include "device/mma.cuh"
#include "device/split_k.cuh"
#include "split_k.hpp"

// y[m,n] = x[m,k] W[n,k]^T with bf16 activations and weights of fewer bits, packed in advance (at load time,
// as Marlin does: Frantar et al., 2024) in the order in which tensor cores take them. A packed block holds 16
// rows of W by 128 of k; the lane of a warp finds its share of a step in one access, and W is the 16-row
// operand, so that m pads to 8 only. Blocks lie [n / 16][k / 128].
//
// Few rows are bound by reading W (aim: 80% of the bandwidth of a copy), many by mma.sync (aim: 60% of the
// dense bf16 peak on Hopper, whose full rate needs wgmma).

namespace orrery::kernels {

inline constexpr int kPackedRows = 16;
inline constexpr int kPackedDepth = 128;

struct PackedGemmArgs {
  const bf16* x = nullptr;
  const std::uint8_t* w = nullptr;
  const float* w_scale = nullptr;  ///< [n], or nullptr
  bf16* y = nullptr;
  std::int64_t m = 0, n = 0;  ///< n a multiple of 16
  int k = 0;                  ///< a multiple of 128
  float* partials = nullptr;
  int* counters = nullptr;
  int splits = 1, steps = 0;  ///< blocks that share a tile, and blocks of k for each
};

/// Tile of a thread block: m_rows of x by n_tiles * n_warps * 16 rows of W, 128 of k at a time, by
/// n_warps * m_warps * k_warps warps.
template <int m_rows, int n_tiles, int n_warps, int m_warps, int k_warps, int stages>
struct PackedTile {
  static constexpr int kM = m_rows, kTiles = n_tiles, kNWarps = n_warps, kMWarps = m_warps, kKWarps = k_warps,
                       kStages = stages;
  static constexpr int kBlocks = n_tiles * n_warps;  ///< packed blocks side by side
  static constexpr int kN = kBlocks * kPackedRows;
  static constexpr int kThreads = n_warps * m_warps * k_warps * kWarpSize;
  static constexpr int kColumns = m_rows / m_warps / 8;  ///< fragments of 8 rows of x that a warp computes
  static constexpr int kXBytes = m_rows * kPackedDepth * 2;
  static constexpr int kPitch = kN + 4;  ///< of a row of sums in shared memory: no bank conflicts
  template <class W>
  static constexpr int stage_bytes() {
    return kBlocks * W::kBlockBytes + kXBytes;
  }
  template <class W>
  static constexpr std::size_t shared_bytes() {
    return static_cast<std::size_t>(std::max(stages * stage_bytes<W>(), m_rows * kPitch * 4));
  }
};

namespace packed {

/// Where the 16 bytes of columns 8 * chunk.. of a row of x lie in shared memory: swizzled, so that eight rows
/// of one column fall into different banks.
ORRERY_DEVICE int x_offset(int row, int chunk) {
  return row * kPackedDepth * 2 + (chunk ^ (row & 7)) * 16;
}

template <class W, class Tile>
ORRERY_DEVICE void load_stage(const PackedGemmArgs& args, unsigned char* stage, int step) {
  constexpr int w_chunks = W::kBlockBytes / 16, x_chunks = kPackedDepth / 8;
  const std::int64_t rows = args.n / kPackedRows, first_row = std::int64_t{blockIdx.x} * Tile::kBlocks;
  const int depth = args.k / kPackedDepth;
  for (int c = static_cast<int>(threadIdx.x); c < Tile::kBlocks * w_chunks; c += Tile::kThreads) {
    const std::int64_t row = first_row + c / w_chunks;
    const bool inside = row < rows;
    const std::uint8_t* const block = args.w + ((inside ? row : 0) * depth + step) * W::kBlockBytes;
    async_copy16(stage + c * 16, block + c % w_chunks * 16, inside);
  }
  unsigned char* const x = stage + Tile::kBlocks * W::kBlockBytes;
  const std::int64_t first_m = std::int64_t{blockIdx.y} * Tile::kM;
#pragma unroll
  for (int i = 0; i < Tile::kM * x_chunks / Tile::kThreads; ++i) {
    const int c = static_cast<int>(threadIdx.x) + i * Tile::kThreads, row = c / x_chunks,
              chunk = c % x_chunks;
    const bool inside = first_m + row < args.m;
    const bf16* const from = args.x + (inside ? first_m + row : 0) * args.k + step * kPackedDepth + chunk * 8;
    async_copy16(x + x_offset(row, chunk), from, inside);
  }
}

/// One block of k: this warp's tiles of 16 rows of W by its rows of x.
template <class W, class Tile>
ORRERY_DEVICE void multiply_stage(const unsigned char* stage, int n_warp, int m_warp, int k_warp,
                                  float (&sums)[Tile::kTiles][Tile::kColumns][4]) {
  constexpr int quarters = kPackedDepth / 32 / Tile::kKWarps;
  const unsigned char* const blocks = stage + n_warp * Tile::kTiles * W::kBlockBytes;
  const unsigned char* const x = stage + Tile::kBlocks * W::kBlockBytes;
  typename W::Scales scales[Tile::kTiles];
#pragma unroll
  for (int i = 0; i < Tile::kTiles; ++i) scales[i] = W::scales(blocks + i * W::kBlockBytes);
#pragma unroll
  for (int q = 0; q < quarters; ++q) {
    const int quarter = k_warp * quarters + q;
    std::uint32_t b[Tile::kColumns][4];
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) {
      const int row = (m_warp * Tile::kColumns + j) * 8 + lane_id() % 8;
      load_matrices(b[j], reinterpret_cast<const bf16*>(x + x_offset(row, quarter * 4 + lane_id() / 8)));
    }
#pragma unroll
    for (int i = 0; i < Tile::kTiles; ++i)
      W::multiply(blocks + i * W::kBlockBytes, quarter, scales[i], b, sums[i]);
  }
}

/// The sums of all warps as [kM][kPitch] in shared memory, those of the warps that share k added.
template <class Tile>
ORRERY_DEVICE void gather(float* tile, int n_warp, int m_warp, int k_warp,
                          const float (&sums)[Tile::kTiles][Tile::kColumns][4]) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int turn = Tile::kKWarps - 1; turn >= 0; --turn) {
    __syncthreads();
    if (k_warp != turn) continue;
#pragma unroll
    for (int i = 0; i < Tile::kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int row = (m_warp * Tile::kColumns + j) * 8 + 2 * t + c % 2;
          float& sum = tile[row * Tile::kPitch + (n_warp * Tile::kTiles + i) * 16 + g + c / 2 * 8];
          sum = turn == Tile::kKWarps - 1 ? sums[i][j][c] : sum + sums[i][j][c];
        }
      }
    }
  }
  __syncthreads();
}

using Eight = Pack<float, 4>[2];

ORRERY_DEVICE void store_row(const PackedGemmArgs& args, std::int64_t row, std::int64_t column,
                             const Eight& sums) {
  Pack<bf16, 8> y;
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float scale = args.w_scale != nullptr ? args.w_scale[column + e] : 1.0F;
    y.v[e] = from_float<bf16>(sums[e / 4].v[e % 4] * scale);
  }
  store_pack(args.y + row * args.n + column, y);
}

/// Writes the tile, or leaves it for the last of the blocks that share it to add.
template <class Tile>
ORRERY_DEVICE void finish(const PackedGemmArgs& args, const float* tile) {
  constexpr int packs = Tile::kN / 8;
  const std::int64_t first_m = std::int64_t{blockIdx.y} * Tile::kM,
                     first_n = std::int64_t{blockIdx.x} * Tile::kN;
  const auto part = [&](int split, std::int64_t row, std::int64_t column) {
    return args.partials + (split * args.m + row) * args.n + column;
  };
  for (int p = static_cast<int>(threadIdx.x); p < Tile::kM * packs; p += Tile::kThreads) {
    const std::int64_t row = first_m + p / packs, column = first_n + p % packs * 8;
    if (row >= args.m || column >= args.n) continue;
    const float* const sums = tile + p / packs * Tile::kPitch + p % packs * 8;
    const Eight eight = {load_pack<4>(sums), load_pack<4>(sums + 4)};
    if (args.splits == 1) {
      store_row(args, row, column, eight);
    } else {
      float* const to = part(static_cast<int>(blockIdx.z), row, column);
      store_pack(to, eight[0]), store_pack(to + 4, eight[1]);
    }
  }
  if (args.splits == 1 || !last_of_splits(args.counters + blockIdx.y * gridDim.x + blockIdx.x, args.splits))
    return;
  for (int p = static_cast<int>(threadIdx.x); p < Tile::kM * packs; p += Tile::kThreads) {
    const std::int64_t row = first_m + p / packs, column = first_n + p % packs * 8;
    if (row >= args.m || column >= args.n) continue;
    Eight eight{};
    for (int split = 0; split < args.splits; ++split) {
      const float* const from = part(split, row, column);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const auto four = load_pack<4>(from + 4 * h);
#pragma unroll
        for (int e = 0; e < 4; ++e) eight[h].v[e] += four.v[e];
      }
    }
    store_row(args, row, column, eight);
  }
}

/// W says how packed blocks are read: kBlockBytes, Scales scales(block), multiply(block, quarter, scales, b,
/// sums).
template <class W, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) kernel(PackedGemmArgs args) {
  ORRERY_DYNAMIC_SHARED(unsigned char, shared);
  constexpr int stage_bytes = Tile::template stage_bytes<W>();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int n_warp = warp % Tile::kNWarps, m_warp = warp / Tile::kNWarps % Tile::kMWarps,
            k_warp = warp / Tile::kNWarps / Tile::kMWarps;
  const int begin = static_cast<int>(blockIdx.z) * args.steps, depth = args.k / kPackedDepth;
  const int count = (begin + args.steps < depth ? begin + args.steps : depth) - begin;
#pragma unroll
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < count) load_stage<W, Tile>(args, shared + s * stage_bytes, begin + s);
    async_commit();
  }
  float sums[Tile::kTiles][Tile::kColumns][4] = {};
  for (int step = 0; step < count; ++step) {
    async_wait<Tile::kStages - 2>();
    __syncthreads();  // the stage has landed, and all have left the one that is loaded next
    const int ahead = step + Tile::kStages - 1;
    if (ahead < count) load_stage<W, Tile>(args, shared + ahead % Tile::kStages * stage_bytes, begin + ahead);
    async_commit();
    multiply_stage<W, Tile>(shared + step % Tile::kStages * stage_bytes, n_warp, m_warp, k_warp, sums);
  }
  async_wait<0>();
  float* const tile = reinterpret_cast<float*>(shared);
  gather<Tile>(tile, n_warp, m_warp, k_warp, sums);
  finish<Tile>(args, tile);
}

template <class W, class Tile>
void run(PackedGemmArgs args, const SplitK& memory, int blocks, StreamRef stream) {
  const std::int64_t across = ceil_div<std::int64_t>(args.n, Tile::kN),
                     down = ceil_div<std::int64_t>(args.m, Tile::kM);
  const auto plan = split_plan(across * down, args.k / kPackedDepth, blocks, 4, args.m * args.n, memory);
  args.partials = memory.partials, args.counters = memory.counters;
  args.splits = plan.splits, args.steps = plan.steps;
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(down),
                  static_cast<unsigned>(plan.splits));
  launch(kernel<W, Tile>, {grid, dim3(Tile::kThreads), Tile::template shared_bytes<W>(), stream}, args);
}

}  // namespace packed

using PackedTile16 = PackedTile<16, 1, 4, 1, 2, 4>;
using PackedTile32 = PackedTile<32, 1, 4, 1, 2, 4>;
using PackedTile64 = PackedTile<64, 2, 4, 2, 1, 3>;
using PackedTile128 = PackedTile<128, 2, 4, 2, 1, 3>;

/// Shared memory a block may need: a device with less cannot run it.
template <class W>
constexpr std::size_t packed_shared_bytes() {
  return PackedTile128::shared_bytes<W>();
}

/// Any m; splits k where the tiles do not fill the device.
template <class W>
void packed_gemm(const PackedGemmArgs& args, const SplitK& memory, int sm_count, StreamRef stream) {
  if (args.m <= 16) return packed::run<W, PackedTile16>(args, memory, 3 * sm_count, stream);
  if (args.m <= 32) return packed::run<W, PackedTile32>(args, memory, 3 * sm_count, stream);
  if (args.m <= 64) return packed::run<W, PackedTile64>(args, memory, 2 * sm_count, stream);
  packed::run<W, PackedTile128>(args, memory, sm_count, stream);
}

}  // namespace orrery::kernels
