#pragma once

#include "kv_layout.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

// Decode attention that reads, of each sequence and KV head, the best `selected` blocks of the paged cache
// only: summarise_blocks once for every block that fills up, then per step select_blocks and
// attention_selected.

/// How blocks are summarised and scored. Only full blocks have a summary and a score; one that is not is
/// always chosen.
enum class BlockScore : std::uint8_t {
  mean,  ///< q . mean of the keys; the best of a KV head's query heads counts (MoBA; Lu et al., 2025, eq. 6)
  bounds,      ///< sum_i max(q_i min_i, q_i max_i), the same (Quest; Tang et al., 2024, section 3.3)
  compressed,  ///< softmax over the blocks of scale q . compressed key, summed over the query heads (NSA;
               ///< Yuan et al., 2025, eq. 8-10, compression and selection blocks being the same)
};
/// Vectors of a summary: for `bounds` the greatest elements, then the least.
constexpr int summary_vectors(BlockScore score) {
  return score == BlockScore::bounds ? 2 : 1;
}

/// Summaries of physical blocks [0, blocks) of a bf16 cache: means (also for `compressed`, which models
/// learn), or bounds.
struct SummariseBlocksArgs {
  PagedKv kv;                 ///< its K, of bf16
  bf16* summaries = nullptr;  ///< out [blocks, kv_heads, vectors, head_dim]
  std::int64_t blocks = 0;
  BlockScore score = BlockScore::mean;
};
void summarise_blocks(const SummariseBlocksArgs& args, StreamRef stream);

inline constexpr int kMaxSelectedBlocks = 1024;

struct SelectBlocksArgs {
  const bf16* q = nullptr;                 ///< [seqs, heads, head_dim]
  const bf16* summaries = nullptr;         ///< as summarise_blocks makes them
  PagedKv kv;                              ///< its block table and sizes; head_dim 64, 128 or 256
  const std::int32_t* contexts = nullptr;  ///< [seqs] tokens in the cache; 0 pads the batch
  float* scores = nullptr;                 ///< workspace and out [seqs, kv_heads, table_stride]
  float* head_scores = nullptr;            ///< workspace [seqs, heads, table_stride], `compressed` only
  /// Out [seqs, kv_heads, selected]: the chosen blocks of the sequence, ascending, then -1.
  std::int32_t* chosen = nullptr;
  /// Out [seqs, kv_heads, selected * block_size]: rows of K and V (kv_row) of the chosen blocks' tokens.
  std::int32_t* rows = nullptr;
  std::int32_t* lengths = nullptr;  ///< out [seqs, kv_heads]: how many
  int seqs = 0, heads = 0;
  int selected = 0;                   ///< up to kMaxSelectedBlocks, more than keep_first + keep_last
  int keep_first = 0, keep_last = 1;  ///< blocks chosen whatever their scores: the sink, the neighbourhood
  float scale = 1;                    ///< `compressed` only
  BlockScore score = BlockScore::mean;
};
/// Two launches. The grid follows from seqs, heads and table_stride alone.
void select_blocks(const SelectBlocksArgs& args, StreamRef stream);

/// Attention of one query per sequence over the rows of select_blocks, any format of the cache.
struct AttentionSelectedArgs {
  const bf16* q = nullptr;                ///< [seqs, heads, head_dim]
  PagedKv kv;                             ///< its K and V, sizes and scales
  const std::int32_t* rows = nullptr;     ///< [seqs, kv_heads, stride]
  const std::int32_t* lengths = nullptr;  ///< [seqs, kv_heads]
  bf16* out = nullptr;                    ///< [seqs, heads, head_dim]
  int stride = 0, seqs = 0, heads = 0;
  float scale = 1;
  int splits = 1;              ///< attention_decode_splits(seqs * kv_heads, heads / kv_heads, 1, ...)
  float* workspace = nullptr;  ///< attention_decode_workspace(seqs * kv_heads, heads / kv_heads, ...)
};
void attention_selected(const AttentionSelectedArgs& args, StreamRef stream);

}  // namespace orrery::kernels
