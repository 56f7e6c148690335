#pragma once

#include <algorithm>

#include "attention_decode.hpp"
#include "device/async_copy.cuh"
#include "device/mma.cuh"
#include "device/swizzle.cuh"
#include "split_kv.hpp"

// Device code of attention_decode.cu: one block per (sequence, KV head, up to 16 of its query heads, split).
// Each warp reads every fourth group of 16 keys of the split through copies and shared memory of its own,
// with a softmax of its own, so that warps meet once, at the end.
//
// The query heads are the 16 rows of mma.m16n8k16, for Q K^T (columns: keys) and for P V (columns: elements
// of the head), with rows of zeros when there are fewer. Narrow formats stay as they are in shared memory:
// ldmatrix moves 16-bit units of several elements, `widen` makes pairs of bf16 of them, and what that does to
// the order of a row's elements is undone where Q is read and O is written.

namespace orrery::kernels {

inline constexpr int kDecodeRows = 16;        // query heads of a block
inline constexpr int kDecodeLeastKeys = 128;  // of a split

template <class T, int dim>
struct DecodeShape {
  static constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
  static constexpr int kKeys = 16, kTileKeys = kWarps * kKeys;  // of a warp's step, of the block's
  static constexpr int kChunks = kv_bytes<T>(dim) / 16;         // 16-byte parts of a row
  static constexpr int kMatrixBytes = kKeys * kChunks * 16;     // K or V of a step
  static constexpr int kStageBytes = 2 * kMatrixBytes + (kScaledPerToken<T> ? 2 * kKeys * 4 : 0);
  static constexpr int kStages = std::clamp(17 * 1024 / kStageBytes, 2, 4);  // some 64 KiB a block
  static constexpr int kOutStride = dim + 8;  // floats; for the warps' outputs in the end, over the stages
  static constexpr int kOutBytes = kWarps * kDecodeRows * kOutStride * 4;
  static constexpr int kSharedBytes = std::max(kWarps * kStages * kStageBytes, kOutBytes);
  static constexpr int kStaticBytes = dim * 32 + kWarps * kDecodeRows * 8;  // queries; largest scores, sums
  static_assert(kDecodeLeastKeys % kTileKeys == 0);
};

/// Q's rows as operands of the mma, in the order in which widened K has its elements: fragments[step][lane].
template <class T, int dim>
ORRERY_DEVICE void load_queries(const bf16* q, int rows, uint4* fragments) {
  constexpr int n = kPerUnit<T>;
  for (int at = static_cast<int>(threadIdx.x); at < dim / 16 * kWarpSize;
       at += DecodeShape<T, dim>::kThreads) {
    const int lane = at % kWarpSize, step = at / kWarpSize;
    const int first = step / n * 16 * n + lane % 4 * 2 * n + step % n;
    const auto two = [&](int row, int element) {
      if (row >= rows) return 0U;
      const bf16* p = q + row * dim + element;
      return static_cast<unsigned>(p[0].bits) | static_cast<unsigned>(p[n].bits) << 16;
    };
    const int row = lane / 4;
    fragments[at] = make_uint4(two(row, first), two(row + 8, first), two(row, first + 8 * n),
                               two(row + 8, first + 8 * n));
  }
}

/// Begins the copy of a warp's step: lane i (and i + 16) holds the place of key i in the cache, -1 without.
template <class T, int dim>
ORRERY_DEVICE void copy_keys(const PagedKv& kv, int kv_head, int token, unsigned char* stage) {
  using S = DecodeShape<T, dim>;
  const int lane = lane_id();
#pragma unroll
  for (int i = 0; i < S::kChunks / 2; ++i) {
    const int at = lane + i * kWarpSize, key = at / S::kChunks, chunk = at % S::kChunks;
    const int from = shfl(token, key);
    const std::size_t offset =
        from < 0 ? 0 : (kv_row(kv, from, kv_head) * S::kChunks + static_cast<std::size_t>(chunk)) * 16;
    unsigned char* to = stage + (key * S::kChunks + swizzle<S::kChunks>(key, chunk)) * 16;
    async_copy16(to, static_cast<const unsigned char*>(kv.k) + offset, from >= 0);
    async_copy16(to + S::kMatrixBytes, static_cast<const unsigned char*>(kv.v) + offset, from >= 0);
  }
  if constexpr (kScaledPerToken<T>) {
    const float* scales = lane < S::kKeys ? kv.k_scales : kv.v_scales;
    async_copy4(stage + 2 * S::kMatrixBytes + lane * 4, scales + (token < 0 ? 0 : kv_row(kv, token, kv_head)),
                token >= 0);
  }
}

/// What a warp has summed up over its keys, as fragments of the mma: lane holds rows lane / 4 and that + 8.
template <class T, int dim>
class DecodeWarp {
  using S = DecodeShape<T, dim>;
  static constexpr int n = kPerUnit<T>;

 public:
  /// One step: `stage` as copy_keys filled it, keys [key, end) of it count. `factor`: of the scores, for 2^x.
  ORRERY_DEVICE void add(const unsigned char* stage, const uint4* q, int key, int end, float factor,
                         bool upper) {
    float s[2][4] = {};
    multiply_queries(s, stage, q);
    const auto* scales = reinterpret_cast<const float*>(stage + 2 * S::kMatrixBytes);
    const int column = lane_id() % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int at = i / 4 * 8 + column + i % 2;
      float& x = s[i / 4][i % 4];
      x *= kScaledPerToken<T> ? factor * scales[at] : factor;
      if (key + at >= end) x = -INFINITY;
    }
    softmax<0>(s);
    if (upper) softmax<2>(s);
    std::uint32_t p[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // a[0], a[1]: keys 0-7 of rows below 8 and above; a[2], a[3]: keys 8-15
      const int at = i / 2 * 8 + column;
      float low = s[i / 2][i % 2 * 2], high = s[i / 2][i % 2 * 2 + 1];
      if constexpr (kScaledPerToken<T>) low *= scales[S::kKeys + at], high *= scales[S::kKeys + at + 1];
      p[i] = i % 2 == 0 || upper ? pack2<bf16>(low, high) : 0;
    }
    multiply_values(p, stage + S::kMatrixBytes);
  }

  /// The sums over the lanes that share a row.
  ORRERY_DEVICE void finish() {
#pragma unroll
    for (float& x : sum) x += shfl_xor(x, 1), x += shfl_xor(x, 2);
  }

  /// Row lane / 4 + 8 half of the output, unnormalised, times `factor`.
  ORRERY_DEVICE void write(float* row, int half, float factor) const {
#pragma unroll
    for (int i = 0; i < dim / 8; ++i) {
      const int first = i / n * 8 * n + lane_id() % 4 * 2 * n + i % n;
      row[first] = out[i][2 * half] * factor, row[first + n] = out[i][2 * half + 1] * factor;
    }
  }

  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // of the rows: largest exponent, sum of 2^(x - it)

 private:
  ORRERY_DEVICE void multiply_queries(float (&s)[2][4], const unsigned char* keys, const uint4* q) {
    const int lane = lane_id(), key = lane % 8 + lane / 16 * 8, side = lane / 8 % 2;
#pragma unroll
    for (int pair = 0; pair < S::kChunks / 2; ++pair) {
      std::uint32_t words[4], wide[4][n];
      const int at = key * S::kChunks + swizzle<S::kChunks>(key, 2 * pair + side);
      load_matrices(words, reinterpret_cast<const bf16*>(keys + at * 16));
#pragma unroll
      for (int m = 0; m < 4; ++m) widen<T>(words[m], wide[m]);
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const uint4 fragment = q[(pair * n + i) * kWarpSize + lane];
        const std::uint32_t a[4] = {fragment.x, fragment.y, fragment.z, fragment.w};
        mma_m16n8k16<bf16>(s[0], a, {wide[0][i], wide[1][i]});
        mma_m16n8k16<bf16>(s[1], a, {wide[2][i], wide[3][i]});
      }
    }
  }

  /// Online softmax of rows 0-7 (first = 0) or 8-15 (first = 2): scores become 2^(x - most).
  template <int first>
  ORRERY_DEVICE void softmax(float (&s)[2][4]) {
    constexpr int half = first / 2;
    float largest = fmaxf(fmaxf(s[0][first], s[0][first + 1]), fmaxf(s[1][first], s[1][first + 1]));
    largest = fmaxf(largest, shfl_xor(largest, 1));
    largest = fmaxf(fmaxf(largest, shfl_xor(largest, 2)), most[half]);
    const float base = largest == -INFINITY ? 0 : largest;
    const float shrink = fast_exp2(most[half] - base);
    most[half] = largest, sum[half] *= shrink;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& x = s[i / 2][first + i % 2];
      x = fast_exp2(x - base), sum[half] += x;
    }
#pragma unroll
    for (int i = 0; i < dim / 8; ++i) out[i][first] *= shrink, out[i][first + 1] *= shrink;
  }

  ORRERY_DEVICE void multiply_values(const std::uint32_t (&p)[4], const unsigned char* values) {
    const int lane = lane_id(), key = lane % 16, side = lane / 16;
#pragma unroll
    for (int pair = 0; pair < S::kChunks / 2; ++pair) {
      std::uint32_t words[4], wide[4][n];
      const int at = key * S::kChunks + swizzle<S::kChunks>(key, 2 * pair + side);
      load_matrices<true>(words, reinterpret_cast<const bf16*>(values + at * 16));
#pragma unroll
      for (int m = 0; m < 4; ++m) widen<T>(words[m], wide[m]);
#pragma unroll
      for (int i = 0; i < n; ++i) {
        mma_m16n8k16<bf16>(out[2 * pair * n + i], p, {wide[0][i], wide[1][i]});
        mma_m16n8k16<bf16>(out[(2 * pair + 1) * n + i], p, {wide[2][i], wide[3][i]});
      }
    }
  }

  float out[dim / 8][4] = {};
};

/// What a block works on.
struct DecodeBlock {
  int seq, kv_head, head, rows, split;  // head: the first of `rows` query heads
  KeyRange keys;
};
ORRERY_DEVICE DecodeBlock decode_block(const AttentionDecodeArgs& args) {
  const int group = args.heads / args.kv.kv_heads, parts = ceil_div(group, kDecodeRows);
  const int y = static_cast<int>(blockIdx.y), first = y % parts * kDecodeRows;
  DecodeBlock b;
  b.seq = static_cast<int>(blockIdx.z), b.kv_head = y / parts, b.split = static_cast<int>(blockIdx.x);
  b.head = b.kv_head * group + first;
  b.rows = group - first < kDecodeRows ? group - first : kDecodeRows;
  b.keys = split_range(args.contexts[b.seq], args.window, args.splits, b.split, kDecodeLeastKeys);
  return b;
}

/// Number of row `row` of the block among all [seqs, heads]; of its part among [seqs, heads, splits]; of all
/// parts. The workspace is their outputs, then their log-sum-exps.
ORRERY_DEVICE std::size_t decode_row(const AttentionDecodeArgs& args, const DecodeBlock& block, int row) {
  return static_cast<std::size_t>(block.seq) * static_cast<std::size_t>(args.heads) +
         static_cast<std::size_t>(block.head + row);
}
ORRERY_DEVICE std::size_t decode_part(const AttentionDecodeArgs& args, const DecodeBlock& block, int row) {
  return decode_row(args, block, row) * static_cast<std::size_t>(args.splits) +
         static_cast<std::size_t>(block.split);
}
ORRERY_DEVICE std::size_t decode_parts(const AttentionDecodeArgs& args) {
  return static_cast<std::size_t>(args.seqs) * static_cast<std::size_t>(args.heads) *
         static_cast<std::size_t>(args.splits);
}

/// A warp's way through its keys, `stages` in flight; the block's queries are fetched meanwhile.
template <class T, int dim>
ORRERY_DEVICE void walk_keys(const AttentionDecodeArgs& args, const DecodeBlock& block, unsigned char* stages,
                             DecodeWarp<T, dim>& warp) {
  __shared__ uint4 q[dim / 16 * kWarpSize];
  using S = DecodeShape<T, dim>;
  const int first = block.keys.begin + static_cast<int>(threadIdx.x) / kWarpSize * S::kKeys;
  const int end = block.keys.end, steps = first < end ? ceil_div(end - first, S::kTileKeys) : 0;
  const auto token_of = [&](int step) {
    const int key = first + step * S::kTileKeys + lane_id() % S::kKeys;
    return key < end ? static_cast<int>(kv_token(args.kv, block.seq, key)) : -1;
  };
  const auto copy = [&](int step, int token) {
    if (step < steps)
      copy_keys<T, dim>(args.kv, block.kv_head, token, stages + step % S::kStages * S::kStageBytes);
    async_commit();
  };
  int tokens[S::kStages];  // the block table is read ahead of the copies
#pragma unroll
  for (int i = 0; i < S::kStages; ++i) tokens[i] = token_of(i);
#pragma unroll
  for (int i = 0; i < S::kStages - 1; ++i) copy(i, tokens[i]);
  int token = tokens[S::kStages - 1];
  const std::int64_t q_stride = args.q_stride > 0 ? args.q_stride : std::int64_t{args.heads} * dim;
  load_queries<T, dim>(args.q + block.seq * q_stride + block.head * dim, block.rows, q);
  __syncthreads();
  const float factor = args.scale * args.kv.k_scale * 1.4426950408889634F;
  const bool upper = block.rows > 8;
  for (int step = 0; step < steps; ++step) {
    copy(step + S::kStages - 1, token);
    token = token_of(step + S::kStages);
    async_wait<S::kStages - 1>();
    warp_sync();
    warp.add(stages + step % S::kStages * S::kStageBytes, q, first + step * S::kTileKeys, end, factor, upper);
    warp_sync();
  }
  async_wait<0>();
}

/// The warps' sums together, to the output or, of one split of several, to the workspace.
template <class T, int dim>
ORRERY_DEVICE void write_block(const AttentionDecodeArgs& args, const DecodeBlock& block, float* outs,
                               DecodeWarp<T, dim>& warp) {
  using S = DecodeShape<T, dim>;
  __shared__ float most[S::kWarps][kDecodeRows], sums[S::kWarps][kDecodeRows];
  const int thread = static_cast<int>(threadIdx.x), mine = thread / kWarpSize, lane = lane_id();
  warp.finish();
  for (int half = 0; half < 2; ++half) {
    if (lane % 4 == 0) most[mine][lane / 4 + 8 * half] = warp.most[half];
    if (lane % 4 == 0) sums[mine][lane / 4 + 8 * half] = warp.sum[half];
  }
  __syncthreads();  // and all have read their last stage, over which the outputs go
  const auto largest = [&](int row) {
    const float x = fmaxf(fmaxf(most[0][row], most[1][row]), fmaxf(most[2][row], most[3][row]));
    return x == -INFINITY ? 0 : x;
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    if (row < block.rows) {
      warp.write(outs + (mine * kDecodeRows + row) * S::kOutStride, half,
                 fast_exp2(warp.most[half] - largest(row)));
    }
  }
  __syncthreads();
  for (int at = thread * 4; at < block.rows * dim; at += S::kThreads * 4) {
    const int row = at / dim, column = at % dim;
    float sum = 0;
    float4 x = make_float4(0, 0, 0, 0);
    for (int w = 0; w < S::kWarps; ++w) {
      const float4 part =
          *reinterpret_cast<const float4*>(outs + (w * kDecodeRows + row) * S::kOutStride + column);
      x.x += part.x, x.y += part.y, x.z += part.z, x.w += part.w;
      sum += sums[w][row] * fast_exp2(most[w][row] - largest(row));
    }
    const float factor = sum > 0 ? args.kv.v_scale / sum : 0;
    x.x *= factor, x.y *= factor, x.z *= factor, x.w *= factor;
    if (args.splits == 1) {
      const Pack<bf16, 4> y{
          {from_float<bf16>(x.x), from_float<bf16>(x.y), from_float<bf16>(x.z), from_float<bf16>(x.w)}};
      store_pack(args.out + decode_row(args, block, row) * dim + column, y);
    } else {
      const std::size_t part = decode_part(args, block, row);
      *reinterpret_cast<float4*>(args.workspace + part * dim + column) = x;
      if (column == 0) {
        args.workspace[decode_parts(args) * dim + part] = largest(row) * 0.6931471805599453F + logf(sum);
      }
    }
  }
}

template <class T, int dim>
__global__ void __launch_bounds__(DecodeShape<T, dim>::kThreads) decode_kernel(AttentionDecodeArgs args) {
  using S = DecodeShape<T, dim>;
  ORRERY_DYNAMIC_SHARED(unsigned char, shared);
  const DecodeBlock block = decode_block(args);
  if (args.splits > 1 && block.keys.begin >= block.keys.end) {  // no keys: its log-sum-exps say so
    const int row = static_cast<int>(threadIdx.x);
    if (row < block.rows)
      args.workspace[decode_parts(args) * dim + decode_part(args, block, row)] = -INFINITY;
    return;
  }
  DecodeWarp<T, dim> warp;
  const int mine = static_cast<int>(threadIdx.x) / kWarpSize;
  walk_keys<T, dim>(args, block, shared + mine * S::kStages * S::kStageBytes, warp);
  write_block<T, dim>(args, block, reinterpret_cast<float*>(shared), warp);
}

}  // namespace orrery::kernels
