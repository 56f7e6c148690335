#pragma once

#include "device/async_copy.cuh"
#include "device/mma.cuh"

namespace orrery::kernels {

// Products of matrices in shared memory, one warp to a strip of 16 rows of the result, in bf16 on tensor
// cores with float accumulators laid out as mma_m16n8k16 does. Rows of a tile are padded (by 8 elements), so
// that ldmatrix has no bank conflicts.

/// Elements from one row of a tile of `dim` columns to the next.
template <int dim>
inline constexpr int kPaddedRow = dim + 8;

/// Starts the copies of `rows` rows of `dim` elements, `pitch` apart in global memory, by all `threads`
/// threads of the block; those at and beyond `valid` become zeros.
template <int dim, int rows, int threads>
ORRERY_DEVICE void load_rows(bf16* tile, const bf16* from, std::int64_t pitch, int valid) {
  constexpr int pieces = dim / 8;
  static_assert(rows * pieces % threads == 0);
#pragma unroll 4
  for (int i = 0; i < rows * pieces / threads; ++i) {
    const int at = i * threads + static_cast<int>(threadIdx.x), row = at / pieces, piece = at % pieces * 8;
    async_copy16(tile + row * kPaddedRow<dim> + piece, from + (row < valid ? row * pitch + piece : 0),
                 row < valid);
  }
}

/// How a matrix lies in memory: its rows or its columns one after the other.
enum class Stored : std::uint8_t { rows, columns };

template <int tiles>
ORRERY_DEVICE void clear(float (&c)[tiles][4]) {
#pragma unroll
  for (int j = 0; j < tiles; ++j) c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0;
}

/// A fragment of A (16 x 16) from `a`, where its element (0, 0) is; `stride` elements from line to line.
template <Stored layout>
ORRERY_DEVICE void load_a(std::uint32_t (&r)[4], const bf16* a, int stride) {
  const int lane = lane_id();
  if constexpr (layout == Stored::rows) {
    load_matrices(r, a + lane % 16 * stride + lane / 16 * 8);
  } else {
    load_matrices<true>(r, a + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  }
}
/// Two fragments of B (16 x 8 each, side by side): the lower two registers are the first one's.
template <Stored layout>
ORRERY_DEVICE void load_b(std::uint32_t (&r)[4], const bf16* b, int stride) {
  const int lane = lane_id();
  if constexpr (layout == Stored::rows) {
    load_matrices<true>(r, b + lane % 16 * stride + lane / 16 * 8);
  } else {
    load_matrices(r, b + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8);
  }
}
/// c[0], c[1] += A B for the two fragments in `b`.
ORRERY_DEVICE void mma_pair(float (&low)[4], float (&high)[4], const std::uint32_t (&a)[4],
                            const std::uint32_t (&b)[4]) {
  const std::uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
  mma_m16n8k16<bf16>(low, a, first);
  mma_m16n8k16<bf16>(high, a, second);
}

/// c[16, 8 tiles] += A[16, depth] B[depth, 8 tiles].
template <Stored a_layout, Stored b_layout, int depth, int tiles>
ORRERY_DEVICE void strip_product(float (&c)[tiles][4], const bf16* a, int a_stride, const bf16* b,
                                 int b_stride) {
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    std::uint32_t fragment[4];
    load_a<a_layout>(fragment, a + (a_layout == Stored::rows ? k : k * a_stride), a_stride);
#pragma unroll
    for (int pair = 0; pair < tiles / 2; ++pair) {
      std::uint32_t columns[4];
      load_b<b_layout>(columns,
                       b + (b_layout == Stored::rows ? k * b_stride + pair * 16 : pair * 16 * b_stride + k),
                       b_stride);
      mma_pair(c[2 * pair], c[2 * pair + 1], fragment, columns);
    }
  }
}

/// c[16, 8 tiles] += P B[depth, 8 tiles], with P[16, depth] in the registers of an earlier product.
template <int depth_tiles, int tiles>
ORRERY_DEVICE void strip_product(float (&c)[tiles][4], const float (&p)[depth_tiles][4], const bf16* b,
                                 int b_stride) {
#pragma unroll
  for (int step = 0; step < depth_tiles / 2; ++step) {
    std::uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&from)[4] = p[2 * step + i / 2];
      a[i] = pack2<bf16>(from[i % 2 * 2], from[i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int pair = 0; pair < tiles / 2; ++pair) {
      std::uint32_t columns[4];
      load_b<Stored::rows>(columns, b + step * 16 * b_stride + pair * 16, b_stride);
      mma_pair(c[2 * pair], c[2 * pair + 1], a, columns);
    }
  }
}

/// Fragments of values computed on the way: value(row, k) of A[16, 16], value(k, column) of B[16, 8].
template <class Value>
ORRERY_DEVICE void make_a(std::uint32_t (&a)[4], Value value) {
  const int row = lane_id() / 4, k = lane_id() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = row + i % 2 * 8, at = k + i / 2 * 8;
    a[i] = pack2<bf16>(value(r, at), value(r, at + 1));
  }
}
template <class Value>
ORRERY_DEVICE void make_b(std::uint32_t (&b)[2], Value value) {
  const int column = lane_id() / 4, k = lane_id() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2; ++i) b[i] = pack2<bf16>(value(k + i * 8, column), value(k + i * 8 + 1, column));
}

/// Row and column of accumulator i of tile j in the strip.
ORRERY_DEVICE int strip_row(int i) {
  return lane_id() / 4 + i / 2 * 8;
}
ORRERY_DEVICE int strip_column(int j, int i) {
  return j * 8 + lane_id() % 4 * 2 + i % 2;
}

/// Rounds a strip into 16 rows of shared memory, and from there writes its first `rows` rows to global memory
/// in 16-byte accesses. `staged`: rows of 8 tiles + 8 elements that only this warp uses.
template <int tiles>
ORRERY_DEVICE void store_strip(const float (&c)[tiles][4], bf16* staged, bf16* global,
                               std::int64_t global_stride, int rows) {
  constexpr int stride = tiles * 8 + 8;
  warp_sync();
#pragma unroll
  for (int j = 0; j < tiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      *reinterpret_cast<std::uint32_t*>(staged + strip_row(i) * stride + strip_column(j, i)) =
          pack2<bf16>(c[j][i], c[j][i + 1]);
    }
  }
  warp_sync();
#pragma unroll
  for (int at = lane_id(); at < 16 * tiles; at += kWarpSize) {
    const int row = at / tiles, piece = at % tiles * 8;
    if (row < rows)
      store_pack(global + row * global_stride + piece, load_pack<8>(staged + row * stride + piece));
  }
}

}  // namespace orrery::kernels
