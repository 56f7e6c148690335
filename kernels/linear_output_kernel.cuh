#pragma once

#include "linear_chunk.cuh"

namespace orrery::kernels {

template <int chunk, int key_dim, bool vector>
struct OutputShared {
  bf16 q[chunk * kPaddedRow<key_dim>], k[chunk * kPaddedRow<key_dim>];
  bf16 v[chunk * kPaddedRow<kOutputTile>];
  bf16 state[key_dim * kPaddedRow<kOutputTile>];
  Cumulative<chunk, key_dim, vector> g;
};

/// The parallel pass: 64 columns of a chunk's output, out = scale (e^G q S + (masked, decayed q k^T) x).
template <int chunk, int key_dim, bool vector, bool delta>
__global__ void __launch_bounds__(chunk * 2) output_kernel(LinearAttentionArgs args) {
  constexpr int threads = chunk * 2, tiles = kOutputTile / 8, stride = kPaddedRow<kOutputTile>,
                key_stride = kPaddedRow<key_dim>;
  using Shared = OutputShared<chunk, key_dim, vector>;
  ORRERY_DYNAMIC_SHARED(Shared, shared);
  const LinearInputs& in = args.in;
  const int head = static_cast<int>(blockIdx.y), column = static_cast<int>(blockIdx.z) * kOutputTile;
  const int key_head = head / (in.heads / in.key_heads), strip = static_cast<int>(threadIdx.x) / kWarpSize;
  const ChunkSpan span = args.chunks[blockIdx.x];
  const std::int64_t keys = span.first * in.key_pitch + key_head * key_dim;
  const std::int64_t packed =
                         (static_cast<std::int64_t>(span.first) * in.heads + head) * in.value_dim + column,
                     packed_pitch = static_cast<std::int64_t>(in.heads) * in.value_dim;
  load_rows<key_dim, chunk, threads>(shared->q, in.q + keys, in.key_pitch, span.tokens);
  load_rows<key_dim, chunk, threads>(shared->k, in.k + keys, in.key_pitch, span.tokens);
  if constexpr (delta) {
    load_rows<kOutputTile, chunk, threads>(shared->v, args.u + packed, packed_pitch, span.tokens);
  } else {
    load_rows<kOutputTile, chunk, threads>(shared->v,
                                           in.v + span.first * in.value_pitch + head * in.value_dim + column,
                                           in.value_pitch, span.tokens);
  }
  load_rows<kOutputTile, key_dim, threads>(
      shared->state,
      args.chunk_states + (static_cast<std::int64_t>(blockIdx.x) * in.heads + head) * key_dim * in.value_dim +
          column,
      in.value_dim, key_dim);
  async_commit();
  shared->g.template fill<threads>(in, span, head);
  async_wait<0>();
  __syncthreads();

  float p[chunk / 8][4], out[tiles][4];
  decayed_scores<chunk, key_dim, vector>(p, shared->q, shared->k, shared->g, strip, false);
  clear(out);
  const bf16* q = shared->q + strip * 16 * key_stride;
  if constexpr (vector) {
    for (int k = 0; k < key_dim; k += 16) {
      std::uint32_t a[4], b[4];
      make_a(a, [&](int r, int at) {
        return to_float(q[r * key_stride + k + at]) * shared->g.since_start(strip * 16 + r, k + at);
      });
#pragma unroll
      for (int pair = 0; pair < tiles / 2; ++pair) {
        load_b<Stored::rows>(b, shared->state + k * stride + pair * 16, stride);
        mma_pair(out[2 * pair], out[2 * pair + 1], a, b);
      }
    }
  } else {
    strip_product<Stored::rows, Stored::rows, key_dim>(out, q, key_stride, shared->state, stride);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float decay = shared->g.since_start(strip * 16 + strip_row(i), 0);
#pragma unroll
      for (int j = 0; j < tiles; ++j) out[j][i] *= decay;
    }
  }
  if (!delta && in.beta != nullptr) {
#pragma unroll
    for (int j = 0; j < chunk / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) p[j][i] *= write_strength(in, span, head, strip_column(j, i));
    }
  }
  strip_product(out, p, shared->v, stride);
  const float skip = !delta && in.skip != nullptr ? in.skip[head] : 0.0F;
#pragma unroll
  for (int j = 0; j < tiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bf16 v = shared->v[(strip * 16 + strip_row(i)) * stride + strip_column(j, i)];
      out[j][i] = out[j][i] * in.scale + skip * to_float(v);
    }
  }
  static_assert(key_stride >= stride);
  store_strip(out, shared->q + strip * 16 * key_stride, in.out + packed + strip * 16 * packed_pitch,
              packed_pitch, span.tokens - strip * 16);
}

}  // namespace orrery::kernels
