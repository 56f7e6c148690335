#pragma once

#include "attention_mla.hpp"
#include "device/async_copy.cuh"
#include "device/mma.cuh"
#include "device/swizzle.cuh"
#include "device/warp.cuh"
#include "split_kv.hpp"

// Device code of attention_mla.cu: one block of 8 warps per (sequence, 16, 32 or 64 heads, split), in steps
// of 32 keys. A step's rows lie in shared memory once, as keys and as values. Scores: each warp multiplies 16
// or 32 heads by 16 keys over a part of the width; four threads per head add the parts up and do the softmax.
// Output: each warp holds 64 of the 512 columns of all the block's heads.

namespace orrery::kernels {

inline constexpr int kMlaLeastKeys = 128;  // of a split

template <int rows>
struct MlaShape {
  static constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;
  static constexpr int kKeys = 32, kChunks = kMlaWidth / 8;  // of a step; 16-byte parts of a row
  static constexpr int kTiles = rows / 16, kWarpTiles = kTiles > 1 ? 2 : 1;  // of 16 heads; a warp's in Q K^T
  static constexpr int kParts = kWarps / (2 * kTiles / kWarpTiles);          // of the width, in Q K^T
  static constexpr int kPartSteps = kMlaWidth / 16 / kParts;
  static constexpr int kQueryBytes = rows * kChunks * 16, kKeyBytes = kKeys * kChunks * 16;
  static constexpr int kScoreStride = kKeys + 4;  // floats, and 72 bf16 of P over the first part's
  static constexpr int kScoreBytes = kParts * rows * kScoreStride * 4;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kKeyBytes + kScoreBytes;
  static constexpr int kStaticBytes = rows * 8 + 2 * kKeys * 4;
  static_assert(kMlaWidth / 16 % kParts == 0 && kMlaLeastKeys % kKeys == 0);
};

/// Begins the copy of `count` rows of kMlaWidth; row(i) is row i, nullptr one of zeros.
template <int threads, class Row>
ORRERY_DEVICE void copy_rows(unsigned char* to, int count, const void* any, Row&& row) {
  constexpr int chunks = kMlaWidth / 8;
  for (int at = static_cast<int>(threadIdx.x); at < count * chunks; at += threads) {
    const int i = at / chunks, chunk = at % chunks;
    const bf16* from = row(i);
    async_copy16(to + (i * chunks + swizzle<chunks>(i, chunk)) * 16, from == nullptr ? any : from + chunk * 8,
                 from != nullptr);
  }
}

/// Shared memory of a block.
template <int rows>
struct MlaMemory {
  using S = MlaShape<rows>;
  unsigned char *queries, *keys;
  float* scores;
  ORRERY_DEVICE explicit MlaMemory(unsigned char* shared)
      : queries(shared),
        keys(shared + S::kQueryBytes),
        scores(reinterpret_cast<float*>(shared + S::kQueryBytes + 2 * S::kKeyBytes)) {}
  ORRERY_DEVICE const bf16* query(int row, int chunk) const {
    return reinterpret_cast<const bf16*>(queries + (row * S::kChunks + swizzle<S::kChunks>(row, chunk)) * 16);
  }
  ORRERY_DEVICE unsigned char* step(int i) const { return keys + i % 2 * S::kKeyBytes; }
  ORRERY_DEVICE const bf16* key(int i, int row, int chunk) const {
    return reinterpret_cast<const bf16*>(step(i) + (row * S::kChunks + swizzle<S::kChunks>(row, chunk)) * 16);
  }
  ORRERY_DEVICE float* score(int part, int row) const {
    return scores + (part * rows + row) * S::kScoreStride;
  }
  ORRERY_DEVICE bf16* weight(int row) const { return reinterpret_cast<bf16*>(score(0, row)); }
};

/// Scores of step i: this warp's heads, keys and part of the width.
template <int rows>
ORRERY_DEVICE void mla_scores(const MlaMemory<rows>& memory, int i) {
  using S = MlaShape<rows>;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = lane_id();
  const int keys = warp % 2 * 16, group = warp / 2 % (S::kTiles / S::kWarpTiles);
  const int part = warp / 2 / (S::kTiles / S::kWarpTiles), first = group * S::kWarpTiles * 16;
  float s[S::kWarpTiles][2][4] = {};
#pragma unroll 3
  for (int step = part * S::kPartSteps; step < (part + 1) * S::kPartSteps; ++step) {
    std::uint32_t k[4];
    load_matrices(k, memory.key(i, keys + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
#pragma unroll
    for (int tile = 0; tile < S::kWarpTiles; ++tile) {
      std::uint32_t q[4];
      load_matrices(q, memory.query(first + tile * 16 + lane % 16, 2 * step + lane / 16));
      mma_m16n8k16<bf16>(s[tile][0], q, {k[0], k[1]});
      mma_m16n8k16<bf16>(s[tile][1], q, {k[2], k[3]});
    }
  }
#pragma unroll
  for (int tile = 0; tile < S::kWarpTiles; ++tile) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {  // keys j / 2 * 8.., heads j % 2 * 8..
      const int row = first + tile * 16 + lane / 4 + j % 2 * 8, column = keys + j / 2 * 8 + lane % 4 * 2;
      const float* pair = s[tile][j / 2] + j % 2 * 2;
      *reinterpret_cast<float2*>(memory.score(part, row) + column) = make_float2(pair[0], pair[1]);
    }
  }
}

/// Running softmax of one head, shared by four threads with 8 keys of each step; the sum is the thread's own.
struct MlaSoftmax {
  float most = -INFINITY, sum = 0;

  /// Scores of a step (keys key.. of the sequence, before `end`) to weights, in place. Returns what the
  /// output so far is to be multiplied by.
  template <int rows>
  ORRERY_DEVICE float add(const MlaMemory<rows>& memory, int row, int key, int end, float factor) {
    const int first = static_cast<int>(threadIdx.x) % 4 * 8;
    float x[8] = {};
#pragma unroll
    for (int part = 0; part < MlaShape<rows>::kParts; ++part) {
      const auto* scores = reinterpret_cast<const float4*>(memory.score(part, row) + first);
      const float4 low = scores[0], high = scores[1];
      x[0] += low.x, x[1] += low.y, x[2] += low.z, x[3] += low.w;
      x[4] += high.x, x[5] += high.y, x[6] += high.z, x[7] += high.w;
    }
    float largest = most;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      x[j] = key + first + j < end ? x[j] * factor : -INFINITY;
      largest = fmaxf(largest, x[j]);
    }
    largest = fmaxf(largest, shfl_xor(largest, 1));
    largest = fmaxf(largest, shfl_xor(largest, 2));
    const float shrink = fast_exp2(most - largest);  // a step has keys, so the largest is finite
    most = largest, sum *= shrink;
    Pack<bf16, 8> p;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      x[j] = fast_exp2(x[j] - largest), sum += x[j];
      p.v[j] = from_float<bf16>(x[j]);
    }
    warp_sync();  // the weights go over scores that the other three have read
    store_pack(memory.weight(row) + first, p);
    return shrink;
  }
  ORRERY_DEVICE float total() const {
    const float two = sum + shfl_xor(sum, 1);
    return two + shfl_xor(two, 2);
  }
};

/// out += P V of step i, after out *= shrink: this warp's 64 columns.
template <int rows>
ORRERY_DEVICE void mla_values(float (&out)[MlaShape<rows>::kTiles][8][4], const MlaMemory<rows>& memory,
                              int i, const float* shrink) {
  using S = MlaShape<rows>;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = lane_id();
#pragma unroll
  for (int tile = 0; tile < S::kTiles; ++tile) {
    const float lower = shrink[tile * 16 + lane / 4], upper = shrink[tile * 16 + lane / 4 + 8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      out[tile][j][0] *= lower, out[tile][j][1] *= lower, out[tile][j][2] *= upper, out[tile][j][3] *= upper;
    }
  }
#pragma unroll
  for (int step = 0; step < S::kKeys / 16; ++step) {
    std::uint32_t p[S::kTiles][4];
#pragma unroll
    for (int tile = 0; tile < S::kTiles; ++tile)
      load_matrices(p[tile], memory.weight(tile * 16 + lane % 16) + (2 * step + lane / 16) * 8);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      std::uint32_t v[4];
      load_matrices<true>(v, memory.key(i, step * 16 + lane % 16, warp * 8 + j * 2 + lane / 16));
#pragma unroll
      for (int tile = 0; tile < S::kTiles; ++tile) {
        mma_m16n8k16<bf16>(out[tile][2 * j], p[tile], {v[0], v[1]});
        mma_m16n8k16<bf16>(out[tile][2 * j + 1], p[tile], {v[2], v[3]});
      }
    }
  }
}

/// What a block works on.
struct MlaBlock {
  int seq, head, count, split;  // head: the first of `count`
  KeyRange keys;
};
template <int rows>
ORRERY_DEVICE MlaBlock mla_block(const AttentionMlaArgs& args) {
  MlaBlock b;
  b.seq = static_cast<int>(blockIdx.z), b.head = static_cast<int>(blockIdx.y) * rows;
  b.count = args.heads - b.head < rows ? args.heads - b.head : rows, b.split = static_cast<int>(blockIdx.x);
  b.keys = split_range(args.contexts[b.seq], 0, args.splits, b.split, kMlaLeastKeys);
  return b;
}
/// Number of the block's head `row` among all [seqs, heads]; of its part among [seqs, heads, splits]; of all
/// parts. The workspace is their outputs, then their log-sum-exps.
ORRERY_DEVICE std::size_t mla_row(const AttentionMlaArgs& args, const MlaBlock& block, int row) {
  return static_cast<std::size_t>(block.seq) * static_cast<std::size_t>(args.heads) +
         static_cast<std::size_t>(block.head + row);
}
ORRERY_DEVICE std::size_t mla_part(const AttentionMlaArgs& args, const MlaBlock& block, int row) {
  return mla_row(args, block, row) * static_cast<std::size_t>(args.splits) +
         static_cast<std::size_t>(block.split);
}
ORRERY_DEVICE float* mla_lse(const AttentionMlaArgs& args, const MlaBlock& block, int row) {
  const std::size_t parts = static_cast<std::size_t>(args.seqs) * static_cast<std::size_t>(args.heads) *
                            static_cast<std::size_t>(args.splits);
  return args.workspace + parts * kMlaLatent + mla_part(args, block, row);
}

/// This warp's columns of the output, times each head's `inverse`.
template <int rows>
ORRERY_DEVICE void mla_write(const AttentionMlaArgs& args, const MlaBlock& block,
                             const float (&out)[MlaShape<rows>::kTiles][8][4], const float* inverse) {
  const int column = static_cast<int>(threadIdx.x) / kWarpSize * 64 + lane_id() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2 * MlaShape<rows>::kTiles; ++i) {
    const int row = i * 8 + lane_id() / 4;
    if (row >= block.count) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float* pair = out[i / 2][j] + i % 2 * 2;
      const float x = pair[0] * inverse[row], y = pair[1] * inverse[row];
      if (args.splits == 1) {
        bf16* to = args.out + mla_row(args, block, row) * kMlaLatent + column + j * 8;
        store_pack(to, Pack<bf16, 2>{{from_float<bf16>(x), from_float<bf16>(y)}});
      } else {
        float* to = args.workspace + mla_part(args, block, row) * kMlaLatent + column + j * 8;
        *reinterpret_cast<float2*>(to) = make_float2(x, y);
      }
    }
  }
}

template <int rows>
__global__ void __launch_bounds__(MlaShape<rows>::kThreads) mla_kernel(AttentionMlaArgs args) {
  using S = MlaShape<rows>;
  ORRERY_DYNAMIC_SHARED(unsigned char, shared);
  __shared__ float shrink[rows], inverse[rows];
  __shared__ int tokens[2][S::kKeys];  // where the keys of the next two steps lie, -1: none
  const MlaBlock block = mla_block<rows>(args);
  const int thread = static_cast<int>(threadIdx.x), row = thread / 4;
  if (args.splits > 1 && block.keys.begin >= block.keys.end) {
    if (thread < block.count) *mla_lse(args, block, thread) = -INFINITY;
    return;
  }
  const MlaMemory<rows> memory(shared);
  const auto token_of = [&](int step) {
    const int key = block.keys.begin + step * S::kKeys + thread;
    return key < block.keys.end ? static_cast<int>(kv_token(args.kv, block.seq, key)) : -1;
  };
  const auto copy_step = [&](int step) {
    const auto* base = static_cast<const bf16*>(args.kv.k);
    copy_rows<S::kThreads>(memory.step(step), S::kKeys, base, [&](int i) {
      const int token = tokens[step % 2][i];
      return token < 0 ? nullptr : base + static_cast<std::size_t>(token) * kMlaWidth;
    });
    async_commit();
  };
  if (thread < S::kKeys) tokens[0][thread] = token_of(0), tokens[1][thread] = token_of(1);
  const bf16* q = args.q + mla_row(args, block, 0) * kMlaWidth;
  copy_rows<S::kThreads>(memory.queries, rows, q,
                         [&](int i) { return i < block.count ? q + i * kMlaWidth : nullptr; });
  __syncthreads();
  copy_step(0);
  const float factor = args.scale * 1.4426950408889634F;
  const int steps = ceil_div(block.keys.end - block.keys.begin, S::kKeys);
  float out[S::kTiles][8][4] = {};
  MlaSoftmax softmax;
  for (int i = 0; i < steps; ++i) {
    async_wait<0>();
    __syncthreads();  // this step's rows are there, and all are done with the last one's and its weights
    if (i + 1 < steps) copy_step(i + 1);
    const int token = thread < S::kKeys ? token_of(i + 2) : -1;
    mla_scores<rows>(memory, i);
    __syncthreads();
    if (row < rows) {
      const float factor_of_row =
          softmax.add(memory, row, block.keys.begin + i * S::kKeys, block.keys.end, factor);
      if (thread % 4 == 0) shrink[row] = factor_of_row;
    }
    if (thread < S::kKeys) tokens[i % 2][thread] = token;
    __syncthreads();
    mla_values<rows>(out, memory, i, shrink);
  }
  async_wait<0>();
  if (row < rows) {
    const float sum = softmax.total();
    if (thread % 4 == 0) inverse[row] = sum > 0 ? 1 / sum : 0;
    if (thread % 4 == 0 && args.splits > 1 && row < block.count)
      *mla_lse(args, block, row) = softmax.most * 0.6931471805599453F + logf(sum);
  }
  __syncthreads();
  mla_write<rows>(args, block, out, inverse);
}

}  // namespace orrery::kernels
