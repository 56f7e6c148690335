#pragma once

#include "device/strips.cuh"
#include "linear_attention.hpp"

namespace orrery::kernels {

// What the passes of linear_attention.cu share. C = chunk. Within a chunk G_t is the sum of the log decays up
// to token t, itself included.

inline constexpr int kOutputTile = 64;  ///< columns of values per block of the parallel passes

/// Log decay of token t of the chunk (scalar rules); 0 beyond its end.
ORRERY_DEVICE float log_decay(const LinearInputs& in, const ChunkSpan& span, int head, int t) {
  if (in.decay == nullptr || t >= span.tokens) return 0;
  if (in.constant_decay) return in.decay[head];
  return in.decay[static_cast<std::int64_t>(span.first + t) * in.heads + head];
}
ORRERY_DEVICE float write_strength(const LinearInputs& in, const ChunkSpan& span, int head, int t) {
  if (in.beta == nullptr || t >= span.tokens) return 1;
  return in.beta[static_cast<std::int64_t>(span.first + t) * in.heads + head];
}

/// Shared memory of G: a row of one number, or of key_dim padded by 4 (rows of equal parity start in
/// different banks).
template <int chunk, int key_dim, bool vector>
struct Cumulative {
  static constexpr int kStride = vector ? key_dim + 4 : 1;
  float at[chunk * kStride];
  float raw[vector ? 1 : chunk];

  /// By all threads of the block; a barrier inside and one needed after.
  template <int threads>
  ORRERY_DEVICE void fill(const LinearInputs& in, const ChunkSpan& span, int head) {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (vector) {
      for (int d = thread; d < key_dim; d += threads) {
        const bf16* gate = in.gate + (static_cast<std::int64_t>(span.first) * in.heads + head) * key_dim + d;
        float sum = 0;
#pragma unroll 8
        for (int t = 0; t < chunk; ++t) {
          if (t < span.tokens) sum += to_float(gate[static_cast<std::int64_t>(t) * in.heads * key_dim]);
          at[t * kStride + d] = sum;
        }
      }
      __syncthreads();
    } else {
      if (thread < chunk) raw[thread] = log_decay(in, span, head, thread);
      __syncthreads();
      if (thread < chunk) {
        float sum = 0;
        for (int t = 0; t <= thread; ++t) sum += raw[t];
        at[thread] = sum;
      }
    }
  }
  /// e^G of token t and channel d.
  ORRERY_DEVICE float since_start(int t, int d) const {
    return fast_exp(at[vector ? t * kStride + d : t]);
  }
};

/// s[t, j] = sum over d of rows[t, d] keys[j, d] e^(G_td - G_jd) for the 16 rows of `strip` and the keys
/// before them, the diagonal included unless `strict`; 0 elsewhere. With a gate per channel, keys of earlier
/// sub-chunks of 16 go through the tensor cores, both sides decayed towards the sub-chunk's first token (no
/// exponential above 1), the sub-chunk itself pair by pair (Yang et al., GLA, 2024, section 4.3).
template <int chunk, int key_dim, bool vector>
ORRERY_DEVICE void decayed_scores(float (&s)[chunk / 8][4], const bf16* rows, const bf16* keys,
                                  const Cumulative<chunk, key_dim, vector>& g, int strip, bool strict) {
  constexpr int stride = kPaddedRow<key_dim>, decays = Cumulative<chunk, key_dim, vector>::kStride;
  clear(s);
  const bf16* own = rows + strip * 16 * stride;
  if constexpr (!vector) {
#pragma unroll
    for (int k = 0; k < key_dim; k += 16) {
      std::uint32_t a[4], b[4];
      load_a<Stored::rows>(a, own + k, stride);
#pragma unroll
      for (int pair = 0; pair < chunk / 16; ++pair) {
        if (pair > strip) continue;
        load_b<Stored::columns>(b, keys + pair * 16 * stride + k, stride);
        mma_pair(s[2 * pair], s[2 * pair + 1], a, b);
      }
    }
  } else {
    const float* first = g.at + strip * 16 * decays;
    for (int k = 0; k < key_dim; k += 16) {
      std::uint32_t a[4], b[2];
      make_a(a, [&](int r, int at) {
        return to_float(own[r * stride + k + at]) * fast_exp(first[r * decays + k + at] - first[k + at]);
      });
#pragma unroll
      for (int tile = 0; tile < chunk / 8; ++tile) {
        if (tile >= 2 * strip) continue;
        make_b(b, [&](int at, int column) {
          const int j = tile * 8 + column;
          return to_float(keys[j * stride + k + at]) * fast_exp(first[k + at] - g.at[j * decays + k + at]);
        });
        mma_m16n8k16<bf16>(s[tile], a, b);
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < chunk / 8; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = strip * 16 + strip_row(i), j = strip_column(tile, i);
      const bool kept = strict ? j < t : j <= t;
      if constexpr (!vector) {
        s[tile][i] = kept ? s[tile][i] * fast_exp(g.at[t] - g.at[j]) : 0.0F;
      } else if (tile / 2 == strip) {
        float sum = 0;
        for (int d = 0; kept && d < key_dim; ++d) {
          sum += to_float(rows[t * stride + d]) * to_float(keys[j * stride + d]) *
                 fast_exp(g.at[t * decays + d] - g.at[j * decays + d]);
        }
        s[tile][i] = sum;
      }
    }
  }
}

}  // namespace orrery::kernels
