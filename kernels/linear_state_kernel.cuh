#pragma once

#include "linear_chunk.cuh"

namespace orrery::kernels {

inline constexpr int kStateTile = 32;  ///< columns of the state per block
inline constexpr int kStateThreads = 128;

template <int chunk, int key_dim, bool delta>
struct StateShared {
  bf16 k[2][chunk * kPaddedRow<key_dim>];
  bf16 v[2][chunk * kPaddedRow<kStateTile>];
  bf16 w[delta ? 2 : 1][delta ? chunk * kPaddedRow<key_dim> : 8];
  bf16 state[key_dim * kPaddedRow<kStateTile>];
  float raw[chunk], to_end[chunk];  ///< log decay; e^(sum of those after a token)
  float decay[key_dim];             ///< of the whole chunk
};

/// The sequential pass: for 32 columns of one head's state, chunk after chunk, the state at the chunk's start
/// is written, by the delta rule U becomes U - W S, and S = e^G_C S + (k e^(G_C - G))^T x.
template <int chunk, int key_dim, bool vector, bool delta>
struct StatePass {
  static constexpr int kWarps = kStateThreads / kWarpSize, kStrips = key_dim / 16 / kWarps;
  static constexpr int kTiles = kStateTile / 8, kKeyStride = kPaddedRow<key_dim>,
                       kStride = kPaddedRow<kStateTile>;
  using Shared = StateShared<chunk, key_dim, delta>;

  const LinearAttentionArgs& args;
  Shared& shared;
  int column, head, warp;
  float s[kStrips][kTiles][4];

  ORRERY_DEVICE std::int64_t token_row(const ChunkSpan& span) const {
    return static_cast<std::int64_t>(span.first) * args.in.heads + head;
  }
  ORRERY_DEVICE int state_row(int strip, int i) const { return (strip * kWarps + warp) * 16 + strip_row(i); }

  ORRERY_DEVICE void load(int stage, const ChunkSpan& span) {
    const LinearInputs& in = args.in;
    const int key_head = head / (in.heads / in.key_heads);
    load_rows<key_dim, chunk, kStateThreads>(
        shared.k[stage], in.k + span.first * in.key_pitch + key_head * key_dim, in.key_pitch, span.tokens);
    if constexpr (delta) {
      load_rows<kStateTile, chunk, kStateThreads>(
          shared.v[stage], args.u + token_row(span) * in.value_dim + column,
          static_cast<std::int64_t>(in.heads) * in.value_dim, span.tokens);
      load_rows<key_dim, chunk, kStateThreads>(shared.w[stage], args.w + token_row(span) * key_dim,
                                               static_cast<std::int64_t>(in.heads) * key_dim, span.tokens);
    } else {
      load_rows<kStateTile, chunk, kStateThreads>(
          shared.v[stage], in.v + span.first * in.value_pitch + head * in.value_dim + column, in.value_pitch,
          span.tokens);
    }
    async_commit();
  }

  /// Between the state in global memory and the registers.
  template <class Move>
  ORRERY_DEVICE void each_element(float* state, Move move) {
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          move(*reinterpret_cast<float2*>(state +
                                          static_cast<std::int64_t>(state_row(strip, i)) * args.in.value_dim +
                                          column + strip_column(j, i)),
               s[strip][j][i], s[strip][j][i + 1]);
        }
      }
    }
  }

  /// The state, rounded, into shared memory.
  ORRERY_DEVICE void round_state() {
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          *reinterpret_cast<std::uint32_t*>(shared.state + state_row(strip, i) * kStride +
                                            strip_column(j, i)) =
              pack2<bf16>(s[strip][j][i], s[strip][j][i + 1]);
        }
      }
    }
  }
  ORRERY_DEVICE void write_chunk_state(int c) {
    bf16* to = args.chunk_states +
               (static_cast<std::int64_t>(c) * args.in.heads + head) * key_dim * args.in.value_dim + column;
    for (int at = static_cast<int>(threadIdx.x); at < key_dim * kTiles; at += kStateThreads) {
      const int row = at / kTiles, piece = at % kTiles * 8;
      store_pack(to + static_cast<std::int64_t>(row) * args.in.value_dim + piece,
                 load_pack<8>(shared.state + row * kStride + piece));
    }
  }

  /// U - W S in place of U, each warp its strips of tokens.
  ORRERY_DEVICE void subtract_known(int stage) {
    for (int strip = warp; strip < chunk / 16; strip += kWarps) {
      float known[kTiles][4];
      clear(known);
      strip_product<Stored::rows, Stored::rows, key_dim>(known, shared.w[stage] + strip * 16 * kKeyStride,
                                                         kKeyStride, shared.state, kStride);
      bf16* u = shared.v[stage] + strip * 16 * kStride;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          bf16& x = u[strip_row(i) * kStride + strip_column(j, i)];
          x = from_float<bf16>(to_float(x) - known[j][i]);
        }
      }
    }
  }

  /// The values decayed to the chunk's end (scalar rules); those of the delta rule are written before.
  ORRERY_DEVICE void weigh_values(int stage, const ChunkSpan& span) {
    for (int at = static_cast<int>(threadIdx.x); at < chunk * kTiles; at += kStateThreads) {
      const int t = at / kTiles, piece = at % kTiles * 8;
      bf16* place = shared.v[stage] + t * kStride + piece;
      auto x = load_pack<8>(place);
      if (delta && t < span.tokens) {
        store_pack(args.u +
                       (token_row(span) + static_cast<std::int64_t>(t) * args.in.heads) * args.in.value_dim +
                       column + piece,
                   x);
      }
      const float weight = shared.to_end[t] * (delta ? 1.0F : write_strength(args.in, span, head, t));
#pragma unroll
      for (int i = 0; i < 8; ++i) x.v[i] = from_float<bf16>(to_float(x.v[i]) * weight);
      store_pack(place, x);
    }
  }
  /// The keys decayed to the chunk's end, channel by channel, and the chunk's decay.
  ORRERY_DEVICE void weigh_keys(int stage, const ChunkSpan& span) {
    const LinearInputs& in = args.in;
    for (int d = static_cast<int>(threadIdx.x); d < key_dim; d += kStateThreads) {
      float sum = 0;
#pragma unroll 8
      for (int t = chunk - 1; t >= 0; --t) {
        if (t >= span.tokens) continue;
        bf16& k = shared.k[stage][t * kKeyStride + d];
        k = from_float<bf16>(to_float(k) * fast_exp(sum));
        sum += to_float(in.gate[(token_row(span) + static_cast<std::int64_t>(t) * in.heads) * key_dim + d]);
      }
      shared.decay[d] = fast_exp(sum);
    }
  }
  ORRERY_DEVICE void sum_decays() {
    const int t = static_cast<int>(threadIdx.x);
    if (t < chunk) {
      float sum = 0;
      for (int later = t + 1; later < chunk; ++later) sum += shared.raw[later];
      shared.to_end[t] = fast_exp(sum);
      if (t == 0) shared.decay[0] = fast_exp(sum + shared.raw[0]);
    }
  }

  ORRERY_DEVICE void update(int stage) {
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float decay = shared.decay[vector ? state_row(strip, i) : 0];
#pragma unroll
        for (int j = 0; j < kTiles; ++j) s[strip][j][i] *= decay;
      }
      strip_product<Stored::columns, Stored::rows, chunk>(
          s[strip], shared.k[stage] + (strip * kWarps + warp) * 16, kKeyStride, shared.v[stage], kStride);
    }
  }

  ORRERY_DEVICE void step(int c, int stage, bool more) {
    const ChunkSpan span = args.chunks[c];
    round_state();
    async_wait<0>();
    __syncthreads();  // what is read from here on has arrived; the other stage and the sums are free
    if (more) load(stage ^ 1, args.chunks[c + 1]);
    write_chunk_state(c);
    const int t = static_cast<int>(threadIdx.x);
    if (!vector && t < chunk) shared.raw[t] = log_decay(args.in, span, head, t);
    if constexpr (delta) subtract_known(stage);
    __syncthreads();
    if constexpr (vector) {
      weigh_keys(stage, span);
      if (t < chunk) shared.to_end[t] = 1;
    } else {
      sum_decays();
    }
    __syncthreads();
    weigh_values(stage, span);
    __syncthreads();
    update(stage);
  }
};

template <int chunk, int key_dim, bool vector, bool delta>
__global__ void __launch_bounds__(kStateThreads) state_kernel(LinearAttentionArgs args) {
  using Pass = StatePass<chunk, key_dim, vector, delta>;
  ORRERY_DYNAMIC_SHARED(typename Pass::Shared, shared);
  const int head = static_cast<int>(blockIdx.y), seq = static_cast<int>(blockIdx.z);
  Pass pass{args,
            *shared,
            static_cast<int>(blockIdx.x) * kStateTile,
            head,
            static_cast<int>(threadIdx.x) / kWarpSize,
            {}};
  const int begin = args.chunk_starts[seq], end = args.chunk_starts[seq + 1];
  float* state =
      args.in.state + (static_cast<std::int64_t>(seq) * args.in.heads + head) * key_dim * args.in.value_dim;
  if (begin < end) pass.load(0, args.chunks[begin]);
  pass.each_element(state, [](const float2& at, float& x, float& y) { x = at.x, y = at.y; });
  for (int c = begin; c < end; ++c) pass.step(c, (c - begin) % 2, c + 1 < end);
  pass.each_element(state, [](float2& at, float x, float y) { at = make_float2(x, y); });
}

}  // namespace orrery::kernels
