#pragma once

#include <cstdint>

#include "device/platform.cuh"

namespace orrery::kernels {

/// Tokens in a block of a block-sparse mask.
inline constexpr int kSparseBlock = 128;

/// Which keys a query sees. Positions of queries and keys count from the first token of their sequence: with
/// m new tokens after p cached ones, queries stand at p .. p + m - 1 and keys at 0 .. p + m - 1. What is set
/// combines: a key must pass all of it.
struct AttentionMask {
  bool causal = true;  ///< no key after the query
  /// Sliding window (Beltagy et al., Longformer, 2020, section 3.1): query - key < window, the query's own
  /// key counted, and key - query < window when not causal. 0 = all.
  int window = 0;
  /// Attention sinks (Xiao et al., StreamingLLM, 2023, section 3.2): the first keys, visible outside the
  /// window too. Causal only.
  int sinks = 0;
  /// Token tree (Miao et al., SpecInfer, 2023, section 4.2): the last `tree_nodes` (at most 64; all when
  /// there are fewer) new tokens of each sequence are nodes, parents before children. A node sees every key
  /// before the tree, and node j where bit j of its own word in `tree` is set: its ancestors and itself.
  /// Causal only.
  int tree_nodes = 0;
  const std::uint64_t* tree = nullptr;  ///< on the device, [new tokens of all sequences]
  /// Block sparsity (as in Jiang et al., MInference, 2024, section 3.2): queries, counted from the first new
  /// token, and keys are in blocks of kSparseBlock. Block i of the queries of sequence s and head h sees the
  /// key blocks sparse_blocks[sparse_offsets[r] .. sparse_offsets[r + 1]), each once, with r = (s * heads +
  /// h)
  /// * sparse_rows + i. Only those are read. sparse_rows = 0: all blocks.
  int sparse_rows = 0;
  const std::int32_t* sparse_offsets = nullptr;  ///< on the device
  const std::int32_t* sparse_blocks = nullptr;   ///< on the device
};

/// Queries [first, last] of one sequence and head, and what the mask needs to know of the sequence.
struct QueryRange {
  int first = 0, last = 0;  ///< positions
  int keys = 0;             ///< past + new tokens of the sequence
  int tree_begin = 0;       ///< position of the tree's first node; `keys` without a tree
};

/// How much of a rectangle of queries and keys is visible.
enum class Cover : std::uint8_t { none, some, all };

/// `some` may also be answered where `none` or `all` would be true.
ORRERY_HOST_DEVICE Cover cover(const AttentionMask& mask, const QueryRange& q, int key_first, int key_last) {
  if (key_first >= q.keys || (mask.causal && key_first > q.last)) return Cover::none;
  const bool windowed = mask.window > 0;
  if (windowed && key_first >= mask.sinks &&
      (q.first - key_last >= mask.window || key_first - q.last >= mask.window)) {
    return Cover::none;
  }
  if (key_last >= q.tree_begin || (mask.causal && key_last > q.first)) return Cover::some;
  if (windowed && key_last >= mask.sinks &&
      (q.last - key_first >= mask.window || key_last - q.first >= mask.window)) {
    return Cover::some;
  }
  return Cover::all;
}

/// The lowest n bits, for any n.
ORRERY_HOST_DEVICE std::uint64_t bits_below(int n) {
  if (n <= 0) return 0;
  return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

/// Which of the 64 keys from `first` on the query at `position` sees, as bits. `ancestors`: its word of
/// mask.tree, if it is a node.
ORRERY_HOST_DEVICE std::uint64_t seen_keys(const AttentionMask& mask, const QueryRange& q, int position,
                                           std::uint64_t ancestors, int first) {
  int end = q.keys;
  if (mask.causal && position + 1 < end) end = position + 1;
  std::uint64_t seen = ~std::uint64_t{0};
  if (mask.window > 0) {
    seen = ~bits_below(position + 1 - mask.window - first) & bits_below(position + mask.window - first);
    seen |= bits_below(mask.sinks - first);
  }
  if (position >= q.tree_begin) {
    const int into = first - q.tree_begin;  // keys of the tree before `first`
    const std::uint64_t nodes = into >= 0 ? ancestors >> (into & 63) : ancestors << (-into & 63);
    seen &= into > -64 ? nodes | bits_below(-into) : ~std::uint64_t{0};
  }
  return seen & bits_below(end - first);
}

/// The tiles of `tile` keys that a range of queries has to visit, in order: those of the sinks, then those
/// from the window's begin (or the sequence's) on; or those of the listed blocks.
template <int tile>
struct KeyTiles {
  int count = 0;
  int begin = 0;       ///< first tile after those of the sinks; of listed blocks: their first in the list
  int sink_tiles = 0;  ///< 0 for listed blocks

  /// Number of the i-th of them: it holds keys [number * tile, (number + 1) * tile).
  ORRERY_HOST_DEVICE int number(const AttentionMask& mask, int i) const {
    if (mask.sparse_rows == 0) return i < sink_tiles ? i : begin + i - sink_tiles;
    constexpr int per_block = kSparseBlock / tile;
    return mask.sparse_blocks[begin + i / per_block] * per_block + i % per_block;
  }
};

/// `sparse_row`: the r of AttentionMask::sparse_blocks.
template <int tile>
ORRERY_HOST_DEVICE KeyTiles<tile> key_tiles(const AttentionMask& mask, const QueryRange& q,
                                            std::int64_t sparse_row) {
  KeyTiles<tile> tiles;
  if (mask.sparse_rows > 0) {
    tiles.begin = mask.sparse_offsets[sparse_row];
    tiles.count = (mask.sparse_offsets[sparse_row + 1] - tiles.begin) * (kSparseBlock / tile);
    return tiles;
  }
  const bool windowed = mask.window > 0;
  int end = q.keys;
  if (mask.causal && q.last + 1 < end) end = q.last + 1;
  if (!mask.causal && windowed && q.last + mask.window < end) end = q.last + mask.window;
  tiles.begin = windowed && q.first >= mask.window ? (q.first - mask.window + 1) / tile : 0;
  tiles.sink_tiles = ceil_div(mask.sinks, tile);
  if (tiles.sink_tiles > tiles.begin) tiles.sink_tiles = tiles.begin;
  tiles.count = tiles.sink_tiles + ceil_div(end, tile) - tiles.begin;
  return tiles;
}

}  // namespace orrery::kernels
