#pragma once

#include "device/async_copy.cuh"
#include "device/mma.cuh"

namespace orrery::kernels {

// One warp's part of FlashAttention-2 (Dao, 2023, algorithm 1) on tensor cores: `row_tiles` x 16 queries
// against tiles of `keys` keys, the output and the softmax's statistics in registers.
//
// Queries, keys and values lie in shared memory as rows of `dim` elements, dim a multiple of 16, each padded
// by 16 bytes: a row has an odd number of 16-byte pieces, so eight rows start in eight different groups of
// banks and ldmatrix has no conflicts, with addresses that are constants apart.

/// Elements from one row of a tile to the next.
template <int dim>
inline constexpr int kTileStride = dim + 8;

/// Starts the copies of `rows` rows by all `threads` threads of the block. row_of(r) gives row r's address in
/// global memory; rows from `valid` on become zeros, the address of the last valid one is named for them.
template <int dim, int rows, int threads, class T, class RowOf>
ORRERY_DEVICE void load_tile_async(T* tile, int valid, RowOf row_of) {
  constexpr int pieces = dim / 8, copies = rows * pieces / threads;
  static_assert(rows * pieces % threads == 0);
#pragma unroll 4  // all at once, the addresses would push accumulators out of the registers
  for (int i = 0; i < copies; ++i) {
    const int at = i * threads + static_cast<int>(threadIdx.x), r = at / pieces, piece = at % pieces;
    const T* const row = row_of(r < valid ? r : valid - 1);
    async_copy16(tile + r * kTileStride<dim> + piece * 8, row + piece * 8, r < valid);
  }
}

ORRERY_DEVICE float minus_infinity() {
  return bits_to_float(0xff800000U);
}

template <class T, int dim, int keys, int row_tiles>
struct FlashWarp {
  /// Accumulators as mma_m16n8k16 lays them out: of its 16 rows a lane holds lane / 4 and lane / 4 + 8.
  using Scores = float[row_tiles][keys / 8][4];

  float out[row_tiles][dim / 8][4] = {};
  float top[row_tiles][2];       ///< largest score of each row so far
  float sum[row_tiles][2] = {};  ///< this lane's part of the sum of exponentials; added up once, at the end

  ORRERY_DEVICE FlashWarp() {
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) top[r][0] = top[r][1] = minus_infinity();
  }

  /// s = Q K^T. Q is read from shared memory for each tile of keys: registers hold the output instead.
  ORRERY_DEVICE void scores(Scores& s, const T* queries, const T* tile) const {
    constexpr int stride = kTileStride<dim>;
    const int lane = lane_id();
    const T* q = queries + lane % 16 * stride + lane / 16 * 8;
    const T* k = tile + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int j = 0; j < keys / 8; ++j) s[r][j][0] = s[r][j][1] = s[r][j][2] = s[r][j][3] = 0;
    }
#pragma unroll
    for (int step = 0; step < dim / 16; ++step) {
      std::uint32_t a[row_tiles][4];
#pragma unroll
      for (int r = 0; r < row_tiles; ++r) load_matrices(a[r], q + r * 16 * stride + step * 16);
#pragma unroll
      for (int pair = 0; pair < keys / 16; ++pair) {
        std::uint32_t b[4];
        load_matrices(b, k + pair * 16 * stride + step * 16);
        const std::uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int r = 0; r < row_tiles; ++r) {
          mma_m16n8k16<T>(s[r][2 * pair], a[r], low);
          mma_m16n8k16<T>(s[r][2 * pair + 1], a[r], high);
        }
      }
    }
  }

  /// Scores become exponentials 2^(scale s - scale top), their sums are added, what was accumulated before is
  /// rescaled if a row's largest score rose (it seldom does after the first tiles). scale: log2(e) times the
  /// softmax's. A row that has seen no key yet keeps top = -infinity.
  ORRERY_DEVICE void softmax(Scores& s, float scale) {
    float shrink[row_tiles][2];
    bool rose = false;
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float now = top[r][half];
#pragma unroll
        for (int j = 0; j < keys / 8; ++j) now = fmaxf(now, fmaxf(s[r][j][2 * half], s[r][j][2 * half + 1]));
        now = fmaxf(now, shfl_xor(now, 1));
        now = fmaxf(now, shfl_xor(now, 2));
        const float zero = now == minus_infinity() ? 0.0F : now * scale;
        shrink[r][half] = fast_exp2(top[r][half] * scale - zero);
        rose = rose || now != top[r][half];
        top[r][half] = now;
        float added = 0;
#pragma unroll
        for (int j = 0; j < keys / 8; ++j) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            s[r][j][i] = fast_exp2(s[r][j][i] * scale - zero);
            added += s[r][j][i];
          }
        }
        sum[r][half] = sum[r][half] * shrink[r][half] + added;
      }
    }
    if (ballot(rose) == 0) return;
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int j = 0; j < dim / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[r][j][i] *= shrink[r][i / 2];
      }
    }
  }

  /// out += P V: the accumulators of two neighbouring 8-key tiles are, packed, an A operand.
  ORRERY_DEVICE void values(const Scores& p, const T* tile) {
    constexpr int stride = kTileStride<dim>;
    const int lane = lane_id();
    const T* v = tile + lane % 16 * stride + lane / 16 * 8;
#pragma unroll
    for (int step = 0; step < keys / 16; ++step) {
      std::uint32_t a[row_tiles][4];
#pragma unroll
      for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&c)[4] = p[r][2 * step + i / 2];
          a[r][i] = pack2<T>(c[i % 2 * 2], c[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int pair = 0; pair < dim / 16; ++pair) {
        std::uint32_t b[4];
        load_matrices<true>(b, v + step * 16 * stride + pair * 16);
        const std::uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int r = 0; r < row_tiles; ++r) {
          mma_m16n8k16<T>(out[r][2 * pair], a[r], low);
          mma_m16n8k16<T>(out[r][2 * pair + 1], a[r], high);
        }
      }
    }
  }

  /// Divides by the sums; rows without any visible key become zero.
  ORRERY_DEVICE void normalise() {
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[r][half];
        total += shfl_xor(total, 1);
        total += shfl_xor(total, 2);
        sum[r][half] = total;
        const float inverse = total > 0 ? 1.0F / total : 0.0F;
#pragma unroll
        for (int j = 0; j < dim / 8; ++j) {
          out[r][j][2 * half] *= inverse;
          out[r][j][2 * half + 1] *= inverse;
        }
      }
    }
  }

  /// Rounds `out` to T into the warp's own rows of a tile.
  ORRERY_DEVICE void store(T* rows) const {
    T* at = rows + lane_id() / 4 * kTileStride<dim> + lane_id() % 4 * 2;
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int j = 0; j < dim / 8; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          *reinterpret_cast<std::uint32_t*>(at + (r * 16 + half * 8) * kTileStride<dim> + j * 8) =
              pack2<T>(out[r][j][2 * half], out[r][j][2 * half + 1]);
        }
      }
    }
  }
};

}  // namespace orrery::kernels
