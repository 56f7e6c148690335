#include "attention_decode.hpp"
#include "base/error.hpp"
#include "block_sparse_select.hpp"
#include "device/mma.cuh"
#include "device/select.cuh"

// Choice of KV blocks for decode attention by summaries of their keys: MoBA (Lu et al., 2025), Quest (Tang et
// al., 2024), NSA (Yuan et al., 2025).
//
// The scores, nearly all of the bytes, are bound by reading the summaries once for all query heads of a KV
// head (aim: 80% of the bandwidth of a copy at thousands of blocks): the heads are the 16 rows of
// mma.m16n8k16, eight blocks its columns. Quest's bound is a product too: with q+ = max(q, 0), q- = min(q, 0)
// it is q+ . greatest + q- . least. The choice is a radix selection by one thread block per sequence and KV
// head, bound by latency. Attention is attention_decode's kernel: a KV head of a sequence is to it a sequence
// with one KV head, whose pages hold a token each.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize, kPer = kPerLoad<bf16>;

// ---- summaries

/// One warp per (block, KV head): a lane has up to 8 elements.
__global__ void __launch_bounds__(kThreads) summarise_kernel(SummariseBlocksArgs args) {
  const std::int64_t unit = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  const int at = lane_id() * kPer, dim = args.kv.head_dim;
  if (unit >= args.blocks * args.kv.kv_heads || at >= dim) return;
  const int head = static_cast<int>(unit % args.kv.kv_heads);
  const std::int64_t first = unit / args.kv.kv_heads * args.kv.block_size;
  float sum[kPer], least[kPer], most[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) sum[i] = 0, least[i] = INFINITY, most[i] = -INFINITY;
  for (int token = 0; token < args.kv.block_size; ++token) {
    const std::size_t row = kv_row(args.kv, first + token, head);
    const auto k =
        load_pack<kPer>(static_cast<const bf16*>(args.kv.k) + row * static_cast<unsigned>(dim) + at);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float x = to_float(k.v[i]);
      sum[i] += x, least[i] = fminf(least[i], x), most[i] = fmaxf(most[i], x);
    }
  }
  const bool bounds = args.score == BlockScore::bounds;
  bf16* const out = args.summaries + unit * summary_vectors(args.score) * dim + at;
  Pack<bf16, kPer> upper, lower;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    upper.v[i] = from_float<bf16>(bounds ? most[i] : sum[i] / static_cast<float>(args.kv.block_size));
    lower.v[i] = from_float<bf16>(least[i]);
  }
  store_pack(out, upper);
  if (bounds) store_pack(out + dim, lower);
}

// ---- scores

constexpr int kRows = 16, kColumns = 8;            // query heads and blocks of an mma
constexpr int kScoreWarps = 4, kTilesPerWarp = 2;  // of kColumns blocks
constexpr int kBlocksPerThreadBlock = kScoreWarps * kTilesPerWarp * kColumns;

ORRERY_DEVICE std::size_t score_row(const SelectBlocksArgs& args, int seq, int of, int head) {
  return (static_cast<std::size_t>(seq) * static_cast<unsigned>(of) + static_cast<unsigned>(head)) *
         static_cast<unsigned>(args.kv.table_stride);
}

/// The negative or the other ones of a pair of bf16.
ORRERY_DEVICE std::uint32_t part_of(std::uint32_t pair, bool negative) {
  const std::uint32_t mask = ((pair & 0x80008000U) >> 15) * 0xffffU;
  return pair & (negative ? mask : ~mask);
}

/// Rows of q as operands, elements of k in the order in which a lane loads 16 bytes of a summary: of 32
/// elements, lane t of four has 8t to 8t + 7, for two steps of 16.
template <int vectors, int dim>
struct Queries {
  std::uint32_t a[vectors * dim / 16][4];

  ORRERY_DEVICE void load(const bf16* q, int rows) {
    const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int step = 0; step < dim / 32; ++step) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        Pack<std::uint32_t, 4> pairs{};
        if (g + 8 * upper < rows)
          pairs =
              *reinterpret_cast<const Pack<std::uint32_t, 4>*>(q + (g + 8 * upper) * dim + step * 32 + t * 8);
#pragma unroll
        for (int v = 0; v < vectors; ++v) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const std::uint32_t pair = vectors == 2 ? part_of(pairs.v[i], v == 1) : pairs.v[i];
            a[(v * dim / 32 + step) * 2 + i / 2][upper + 2 * (i % 2)] = pair;
          }
        }
      }
    }
  }
};

/// Products of 16 query heads with the summaries of 8 blocks: of lane t's columns 2t, 2t + 1. `summary`: of
/// this lane's column, lane / 4; nullptr: none.
template <int vectors, int dim>
ORRERY_DEVICE void multiply(const Queries<vectors, dim>& queries, const bf16* summary, float (&sums)[4]) {
  Pack<std::uint32_t, 4> b[vectors * dim / 32];
#pragma unroll
  for (int i = 0; i < vectors * dim / 32; ++i) {
    b[i] = {};
    if (summary != nullptr)
      b[i] = *reinterpret_cast<const Pack<std::uint32_t, 4>*>(summary + i * 32 + lane_id() % 4 * 8);
  }
#pragma unroll
  for (int i = 0; i < vectors * dim / 32; ++i) {
    mma_m16n8k16<bf16>(sums, queries.a[2 * i], {b[i].v[0], b[i].v[1]});
    mma_m16n8k16<bf16>(sums, queries.a[2 * i + 1], {b[i].v[2], b[i].v[3]});
  }
}

/// blockIdx: a part of the blocks, KV head, sequence.
template <int vectors, int dim>
__global__ void __launch_bounds__(kScoreWarps* kWarpSize) score_kernel(SelectBlocksArgs args) {
  const int head = static_cast<int>(blockIdx.y), seq = static_cast<int>(blockIdx.z);
  const int full = args.contexts[seq] / args.kv.block_size, group = args.heads / args.kv.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, g = lane_id() / 4, t = lane_id() % 4;
  const int begin = static_cast<int>(blockIdx.x) * kBlocksPerThreadBlock + warp * kTilesPerWarp * kColumns;
  if (begin >= full) return;  // all lanes of a warp alike
  const std::int32_t* table = args.kv.block_table + std::int64_t{seq} * args.kv.table_stride;
  float best[kTilesPerWarp][2];
#pragma unroll
  for (int tile = 0; tile < kTilesPerWarp; ++tile) best[tile][0] = best[tile][1] = -INFINITY;
  for (int first = 0; first < group; first += kRows) {
    const int rows = group - first < kRows ? group - first : kRows;
    Queries<vectors, dim> queries;
    queries.load(args.q + (std::int64_t{seq} * args.heads + head * group + first) * dim, rows);
#pragma unroll
    for (int tile = 0; tile < kTilesPerWarp; ++tile) {
      const int column = begin + tile * kColumns;
      const bf16* summary = nullptr;
      if (column + g < full)
        summary = args.summaries +
                  (static_cast<std::int64_t>(table[column + g]) * args.kv.kv_heads + head) * vectors * dim;
      float sums[4] = {};
      multiply(queries, summary, sums);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = g + i / 2 * 8, block = column + 2 * t + i % 2;
        if (row >= rows) continue;
        best[tile][i % 2] = fmaxf(best[tile][i % 2], sums[i]);
        if (args.head_scores != nullptr && block < full)
          args.head_scores[score_row(args, seq, args.heads, head * group + first + row) +
                           static_cast<unsigned>(block)] = sums[i];
      }
    }
  }
  if (args.head_scores != nullptr) return;
  float* const out = args.scores + score_row(args, seq, args.kv.kv_heads, head);
#pragma unroll
  for (int tile = 0; tile < kTilesPerWarp; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float x = best[tile][i];
      x = fmaxf(x, shfl_xor(x, 4)), x = fmaxf(x, shfl_xor(x, 8)), x = fmaxf(x, shfl_xor(x, 16));
      const int block = begin + tile * kColumns + 2 * t + i;
      if (g == 0 && block < full) out[block] = x;
    }
  }
}

// ---- the choice

/// Scores of a KV head's blocks: for each of its query heads the softmax of head_scores, summed.
ORRERY_DEVICE void sum_softmaxes(const SelectBlocksArgs& args, int seq, int kv_head, int full,
                                 float* scores) {
  constexpr float log2_e = 1.4426950408889634F;
  __shared__ float most[kWarps], inverse[kWarps];
  const int group = args.heads / args.kv.kv_heads, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const float factor = args.scale * log2_e;
  for (int first = 0; first < group; first += kWarps) {
    const int heads = group - first < kWarps ? group - first : kWarps;
    const float* rows = args.head_scores + score_row(args, seq, args.heads, kv_head * group + first);
    if (warp < heads) {
      const float* row = rows + static_cast<std::size_t>(warp) * static_cast<unsigned>(args.kv.table_stride);
      float largest = -INFINITY, sum = 0;
      for (int i = lane_id(); i < full; i += kWarpSize) largest = fmaxf(largest, row[i]);
      largest = warp_max(largest);
      for (int i = lane_id(); i < full; i += kWarpSize) sum += fast_exp2((row[i] - largest) * factor);
      sum = warp_sum(sum);
      if (lane_id() == 0) most[warp] = largest, inverse[warp] = 1.0F / sum;
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < full; i += kThreads) {
      float sum = first == 0 ? 0 : scores[i];
      for (int h = 0; h < heads; ++h) {
        const float x = rows[static_cast<std::size_t>(h) * static_cast<unsigned>(args.kv.table_stride) +
                             static_cast<unsigned>(i)];
        sum += fast_exp2((x - most[h]) * factor) * inverse[h];
      }
      scores[i] = sum;
    }
    __syncthreads();
  }
}

/// blockIdx: KV head, sequence.
__global__ void __launch_bounds__(kSelectThreads) choose_blocks_kernel(SelectBlocksArgs args) {
  static_assert(kSelectThreads == kThreads);
  __shared__ SelectShared shared;
  __shared__ int chosen[kMaxSelectedBlocks];
  const int head = static_cast<int>(blockIdx.x), seq = static_cast<int>(blockIdx.y);
  const int context = args.contexts[seq], size = args.kv.block_size, thread = static_cast<int>(threadIdx.x);
  const int full = context / size, blocks = ceil_div(context, size);
  const int count = blocks < args.selected ? blocks : args.selected;
  float* const scores = args.scores + score_row(args, seq, args.kv.kv_heads, head);
  if (args.head_scores != nullptr) sum_softmaxes(args, seq, head, full, scores);
  const auto key = [&](int i) {
    const bool kept = i < args.keep_first || i >= blocks - args.keep_last || i >= full;
    return kept ? ~0U : ordered(scores[i]);
  };
  if (count > 0) {
    const Largest largest = select_largest(blocks, count, key, shared);
    for_each_largest(
        blocks, largest, key, [&](int i, int rank) { chosen[rank] = i; }, shared);
  }
  __syncthreads();
  const std::size_t own =
      static_cast<std::size_t>(seq) * static_cast<unsigned>(args.kv.kv_heads) + static_cast<unsigned>(head);
  std::int32_t* const out = args.chosen + own * static_cast<unsigned>(args.selected);
  for (int i = thread; i < args.selected; i += kThreads) out[i] = i < count ? chosen[i] : -1;
  const int tokens =
      count * size - (blocks * size - context);  // an unfinished block is always chosen, and last
  std::int32_t* const rows = args.rows + own * static_cast<unsigned>(args.selected * size);
  for (int i = thread; i < tokens; i += kThreads) {
    const std::int64_t token = kv_token(args.kv, seq, chosen[i / size] * size + i % size);
    rows[i] = static_cast<std::int32_t>(kv_row(args.kv, token, head));
  }
  if (thread == 0) args.lengths[own] = tokens;
}

/// Calls f(vectors, dim) as types. False: there is no kernel for this head size.
template <class F>
bool with_score_kernel(BlockScore score, int head_dim, F&& f) {
  const auto with_dim = [&](auto vectors) {
    if (head_dim == 64) return f(vectors, std::integral_constant<int, 64>{}), true;
    if (head_dim == 128) return f(vectors, std::integral_constant<int, 128>{}), true;
    if (head_dim == 256) return f(vectors, std::integral_constant<int, 256>{}), true;
    return false;
  };
  if (summary_vectors(score) == 2) return with_dim(std::integral_constant<int, 2>{});
  return with_dim(std::integral_constant<int, 1>{});
}

}  // namespace

void summarise_blocks(const SummariseBlocksArgs& args, StreamRef stream) {
  ORRERY_CHECK(args.kv.format == DType::bf16 && args.kv.head_dim % kPer == 0 && args.kv.head_dim <= 256,
               "keys that are not summarised");
  const std::int64_t units = args.blocks * args.kv.kv_heads;
  if (units == 0) return;
  const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(units, kWarps)));
  launch(summarise_kernel, {grid, dim3(kThreads), 0, stream}, args);
}

void select_blocks(const SelectBlocksArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.selected > args.keep_first + args.keep_last && args.selected <= kMaxSelectedBlocks,
               "a number of blocks that cannot be selected");
  ORRERY_CHECK((args.score == BlockScore::compressed) == (args.head_scores != nullptr),
               "scores per head where they are summed as softmaxes, and there alone");
  const auto seqs = static_cast<unsigned>(args.seqs), kv_heads = static_cast<unsigned>(args.kv.kv_heads);
  const auto parts = static_cast<unsigned>(ceil_div(args.kv.table_stride, kBlocksPerThreadBlock));
  const bool known = with_score_kernel(args.score, args.kv.head_dim, [&](auto vectors, auto dim) {
    launch(score_kernel<vectors(), dim()>,
           {dim3(parts, kv_heads, seqs), dim3(kScoreWarps * kWarpSize), 0, stream}, args);
  });
  ORRERY_CHECK(known, "a head size that block selection has no kernel for");
  launch(choose_blocks_kernel, {dim3(kv_heads, seqs), dim3(kSelectThreads), 0, stream}, args);
}

void attention_selected(const AttentionSelectedArgs& args, StreamRef stream) {
  AttentionDecodeArgs decode;
  decode.q = args.q, decode.kv = args.kv, decode.contexts = args.lengths, decode.out = args.out;
  decode.kv.block_table = args.rows, decode.kv.table_stride = args.stride;
  decode.kv.block_size = 1, decode.kv.kv_heads = 1;
  decode.seqs = args.seqs * args.kv.kv_heads, decode.heads = args.heads / args.kv.kv_heads;
  decode.scale = args.scale, decode.splits = args.splits, decode.workspace = args.workspace;
  attention_decode(decode, stream);
}

}  // namespace orrery::kernels
