#pragma once

#include "linear_chunk.cuh"

namespace orrery::kernels {

// The delta rule's values of a chunk are x = U - W S with the state S at the chunk's start (the WY
// representation; Yang et al., DeltaNet, 2024, section 3.2; Gated DeltaNet, 2024, section 3.3):
//   L_tj = beta_t k_t . (e^(G_t - G_j) k_j) for j < t,  T = (1 + L)^-1 diag(beta),  W = T (e^G k),  U = T v.

template <int chunk, int key_dim, bool vector>
struct DeltaShared {
  static constexpr int kStride = chunk + 4;
  bf16 k[chunk * kPaddedRow<key_dim>];
  bf16 v[chunk * kPaddedRow<kOutputTile>];
  bf16 staged[chunk * kPaddedRow<kOutputTile>];
  bf16 t[chunk * kPaddedRow<chunk>];
  float lower[chunk * kStride], inverse[chunk * kStride];
  float beta[chunk];
  Cumulative<chunk, key_dim, vector> g;
};

/// Column lane % 16 of the inverse of 1 + L's 16 x 16 block on the diagonal, by forward substitution.
ORRERY_DEVICE void invert_block(const float* lower, float* inverse, int stride) {
  const int column = lane_id() % 16;
  float x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    x[i] = i == column ? 1.0F : 0.0F;
#pragma unroll
    for (int k = 0; k < i; ++k) x[i] -= lower[i * stride + k] * x[k];
  }
  if (lane_id() < 16) {
#pragma unroll
    for (int i = 0; i < 16; ++i) inverse[i * stride + column] = x[i];
  }
}

/// sum += A B for 16 x 16 blocks in fp32: a lane holds 8 rows of one column.
ORRERY_DEVICE void block_product(float (&sum)[8], const float* a, const float* b, int stride) {
  const int column = lane_id() % 16, row = lane_id() / 16 * 8;
  for (int k = 0; k < 16; ++k) {
    const float x = b[k * stride + column];
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += a[(row + i) * stride + k] * x;
  }
}
ORRERY_DEVICE void store_block(float* to, const float (&sum)[8], int stride) {
  const int column = lane_id() % 16, row = lane_id() / 16 * 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) to[(row + i) * stride + column] = sum[i];
}

/// (1 + L)^-1 by blocks of 16: those on the diagonal first, then X_ij = -X_ii sum_j<=k<i L_ik X_kj, one
/// diagonal below the other, a warp to a block. chunk / 16 warps; barriers inside, none needed after.
template <int chunk>
ORRERY_DEVICE void invert_lower(const float* lower, float* inverse, int stride) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const auto block = [&](int i, int j) { return (i * stride + j) * 16; };
  invert_block(lower + block(warp, warp), inverse + block(warp, warp), stride);
  for (int distance = 1; distance < chunk / 16; ++distance) {
    __syncthreads();
    const int i = warp, j = warp - distance;
    float sum[8] = {};
    if (j >= 0) {
      for (int k = j; k < i; ++k) block_product(sum, lower + block(i, k), inverse + block(k, j), stride);
      store_block(inverse + block(i, j), sum, stride);
    }
    warp_sync();
    float product[8] = {};
    if (j >= 0) block_product(product, inverse + block(i, i), inverse + block(i, j), stride);
    warp_sync();
    if (j >= 0) {
#pragma unroll
      for (int row = 0; row < 8; ++row) product[row] = -product[row];
      store_block(inverse + block(i, j), product, stride);
    }
  }
  __syncthreads();
}

/// W and U of one chunk and head.
template <int chunk, int key_dim, bool vector>
__global__ void __launch_bounds__(chunk * 2) delta_kernel(LinearAttentionArgs args) {
  constexpr int threads = chunk * 2, tiles = kOutputTile / 8, stride = kPaddedRow<kOutputTile>,
                key_stride = kPaddedRow<key_dim>, t_stride = kPaddedRow<chunk>;
  using Shared = DeltaShared<chunk, key_dim, vector>;
  ORRERY_DYNAMIC_SHARED(Shared, shared);
  const LinearInputs& in = args.in;
  const int head = static_cast<int>(blockIdx.y), key_head = head / (in.heads / in.key_heads);
  const int thread = static_cast<int>(threadIdx.x), strip = thread / kWarpSize;
  const ChunkSpan span = args.chunks[blockIdx.x];
  const std::int64_t row = static_cast<std::int64_t>(span.first) * in.heads + head;
  load_rows<key_dim, chunk, threads>(shared->k, in.k + span.first * in.key_pitch + key_head * key_dim,
                                     in.key_pitch, span.tokens);
  async_commit();
  if (thread < chunk) {
    shared->beta[thread] = thread < span.tokens ? write_strength(in, span, head, thread) : 0.0F;
  }
  shared->g.template fill<threads>(in, span, head);
  async_wait<0>();
  __syncthreads();

  float scores[chunk / 8][4];
  decayed_scores<chunk, key_dim, vector>(scores, shared->k, shared->k, shared->g, strip, true);
#pragma unroll
  for (int j = 0; j < chunk / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = strip * 16 + strip_row(i), at = t * Shared::kStride + strip_column(j, i);
      shared->lower[at] = scores[j][i] * shared->beta[t];
      shared->inverse[at] = 0;
    }
  }
  __syncthreads();
  invert_lower<chunk>(shared->lower, shared->inverse, Shared::kStride);
  for (int at = thread; at < chunk * chunk; at += threads) {
    const int t = at / chunk, j = at % chunk;
    shared->t[t * t_stride + j] =
        from_float<bf16>(shared->inverse[t * Shared::kStride + j] * shared->beta[j]);
  }
  for (int at = thread; at < chunk * key_dim; at += threads) {
    bf16& k = shared->k[at / key_dim * key_stride + at % key_dim];
    k = from_float<bf16>(to_float(k) * shared->g.since_start(at / key_dim, at % key_dim));
  }
  __syncthreads();

  bf16* staged = shared->staged + strip * 16 * stride;
  const bf16* t = shared->t + strip * 16 * t_stride;
  const int rows = span.tokens - strip * 16;
  const std::int64_t key_pitch = static_cast<std::int64_t>(in.heads) * key_dim,
                     value_pitch = static_cast<std::int64_t>(in.heads) * in.value_dim;
  for (int column = 0; column < key_dim; column += kOutputTile) {
    float w[tiles][4];
    clear(w);
    strip_product<Stored::rows, Stored::rows, chunk>(w, t, t_stride, shared->k + column, key_stride);
    store_strip(w, staged, args.w + row * key_dim + column + strip * 16 * key_pitch, key_pitch, rows);
  }
  for (int column = 0; column < in.value_dim; column += kOutputTile) {
    __syncthreads();
    load_rows<kOutputTile, chunk, threads>(shared->v,
                                           in.v + span.first * in.value_pitch + head * in.value_dim + column,
                                           in.value_pitch, span.tokens);
    async_commit();
    async_wait<0>();
    __syncthreads();
    float u[tiles][4];
    clear(u);
    strip_product<Stored::rows, Stored::rows, chunk>(u, t, t_stride, shared->v, stride);
    store_strip(u, staged, args.u + row * in.value_dim + column + strip * 16 * value_pitch, value_pitch,
                rows);
  }
}

}  // namespace orrery::kernels
