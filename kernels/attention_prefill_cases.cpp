#include "attention_prefill_cases.hpp"

#include <algorithm>
#include <bit>
#include <random>

#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::kernels {
namespace {

/// Parents drawn at random: a node's ancestors are its parent's and itself. The tokens before the tree have
/// no word.
void grow_trees(PrefillBatch& batch, std::int64_t nodes, std::mt19937& random) {
  for (const auto& chunk : batch.chunks) {
    const std::int64_t in_tree = std::min(nodes, chunk.new_tokens);
    batch.tree.resize(batch.tree.size() + static_cast<std::size_t>(chunk.new_tokens - in_tree));
    const std::size_t root = batch.tree.size();
    for (std::int64_t i = 0; i < in_tree; ++i) {
      const std::uint64_t own = std::uint64_t{1} << i;
      batch.tree.push_back(i == 0 ? own : own | batch.tree[root + random() % static_cast<std::size_t>(i)]);
    }
  }
}

/// For every query block the first key block, those of the diagonal, and others at random.
void choose_blocks(PrefillBatch& batch, const PrefillShape& shape, std::mt19937& random) {
  batch.mask.sparse_rows = static_cast<int>(ceil_div<std::int64_t>(shape.new_tokens, kSparseBlock));
  batch.sparse_offsets.push_back(0);
  for (const auto& chunk : batch.chunks) {
    for (std::int64_t row = 0; row < shape.heads * batch.mask.sparse_rows; ++row) {
      const std::int64_t begin = row % batch.mask.sparse_rows * kSparseBlock;
      const std::int64_t end = std::min(begin + kSparseBlock, chunk.new_tokens);
      for (std::int64_t b = 0; begin < end && b <= (chunk.past + end - 1) / kSparseBlock; ++b) {
        const bool kept = b == 0 || (b + 1) * kSparseBlock > chunk.past + begin ||
                          static_cast<std::int64_t>(random() % 100) < shape.sparse_percent;
        if (kept) batch.sparse_blocks.push_back(static_cast<std::int32_t>(b));
      }
      batch.sparse_offsets.push_back(static_cast<std::int32_t>(batch.sparse_blocks.size()));
    }
  }
}

/// Pairs and keys of a chunk under a mask without arrays.
void add_intervals(PrefillSums& sums, const PrefillShape& shape, const PrefillChunk& chunk) {
  const Tokens all = chunk.past + chunk.new_tokens;
  if (shape.bidirectional != 0) {
    const Tokens reach = shape.window > 0 ? shape.window : all;
    for (Tokens p = chunk.past; p < all; ++p) {
      sums.pairs += static_cast<double>(std::min(p + reach, all) - std::max<Tokens>(p + 1 - reach, 0));
    }
    sums.keys += static_cast<double>(all - std::max<Tokens>(chunk.past + 1 - reach, 0));
    return;
  }
  sums.pairs += static_cast<double>(attention_pairs(chunk, shape.window));
  sums.keys += static_cast<double>(attention_keys(chunk, shape.window));
  if (shape.sinks == 0) return;
  const auto outside = [&](Tokens position) {
    return std::min(shape.sinks, std::max<Tokens>(position + 1 - shape.window, 0));
  };
  for (Tokens i = 0; i < chunk.new_tokens; ++i) sums.pairs += static_cast<double>(outside(chunk.past + i));
  sums.keys += static_cast<double>(outside(chunk.past));
}

/// `token`: the chunk's first in batch.tree; moved past the chunk.
void add_tree(PrefillSums& sums, const PrefillBatch& batch, const PrefillChunk& chunk, std::int64_t nodes,
              std::size_t& token) {
  const Tokens linear = chunk.new_tokens - std::min(nodes, chunk.new_tokens);
  sums.pairs += static_cast<double>(attention_pairs({linear, chunk.past}, 0));
  token += static_cast<std::size_t>(linear);
  for (Tokens i = linear; i < chunk.new_tokens; ++i, ++token) {
    sums.pairs += static_cast<double>(chunk.past + linear + std::popcount(batch.tree[token]));
  }
  sums.keys += static_cast<double>(chunk.past + chunk.new_tokens);
}

/// Listed blocks cut by the causal diagonal, and the keys that any query of a head reads: means over the
/// heads. `row`: the chunk's first of batch.sparse_offsets; moved past the chunk.
void add_blocks(PrefillSums& sums, const PrefillBatch& batch, const PrefillChunk& chunk, std::int64_t heads,
                std::size_t& row) {
  constexpr Tokens size = kSparseBlock;
  const Tokens all = chunk.past + chunk.new_tokens;
  for (std::int64_t head = 0; head < heads; ++head) {
    std::vector<bool> read(static_cast<std::size_t>(ceil_div(all, size)));
    Tokens pairs = 0, keys = 0;
    for (std::int64_t i = 0; i < batch.mask.sparse_rows; ++i, ++row) {
      const Tokens begin = chunk.past + i * size, end = std::min(begin + size, all);
      for (auto at = batch.sparse_offsets[row]; at < batch.sparse_offsets[row + 1]; ++at) {
        const auto block = batch.sparse_blocks[static_cast<std::size_t>(at)];
        read[static_cast<std::size_t>(block)] = true;
        for (Tokens p = begin; p < end; ++p) pairs += std::clamp<Tokens>(p + 1 - block * size, 0, size);
      }
    }
    for (std::size_t b = 0; b < read.size(); ++b) {
      if (read[b]) keys += std::min(size, all - static_cast<Tokens>(b) * size);
    }
    sums.pairs += static_cast<double>(pairs) / static_cast<double>(heads);
    sums.keys += static_cast<double>(keys) / static_cast<double>(heads);
  }
}

const char* variant_of(const PrefillShape& s) {
  if (s.sparse_percent > 0) return "block_sparse";
  if (s.tree > 0) return "tree";
  if (s.bidirectional != 0) return "bidirectional";
  if (s.sinks > 0) return "sink_window";
  return s.window > 0 ? "window" : "causal";
}

}  // namespace

PrefillBatch batch_of(const PrefillShape& shape) {
  PrefillBatch batch;
  for (std::int64_t i = 0; i < shape.seqs; ++i) {
    const std::int64_t part = shape.ragged != 0 ? i + 1 : shape.seqs;
    batch.chunks.push_back(
        {std::max<Tokens>(shape.new_tokens * part / shape.seqs, 1), shape.past * part / shape.seqs});
  }
  batch.mask.causal = shape.bidirectional == 0;
  batch.mask.window = static_cast<int>(shape.window), batch.mask.sinks = static_cast<int>(shape.sinks);
  batch.mask.tree_nodes = static_cast<int>(shape.tree);
  std::mt19937 random(1);  // a shape is one batch, on every device
  if (shape.tree > 0) grow_trees(batch, shape.tree, random);
  if (shape.sparse_percent > 0) choose_blocks(batch, shape, random);
  return batch;
}

bool PrefillBatch::sees(std::int64_t heads, std::int64_t seq, std::int64_t head, std::int64_t query,
                        std::int64_t key) const {
  const PrefillChunk& chunk = chunks[static_cast<std::size_t>(seq)];
  const std::int64_t position = chunk.past + query, distance = position - key;
  if (mask.causal && distance < 0) return false;
  if (mask.window > 0 && std::abs(distance) >= mask.window && key >= mask.sinks) return false;
  const std::int64_t linear = chunk.new_tokens - std::min<std::int64_t>(mask.tree_nodes, chunk.new_tokens);
  if (query >= linear && key >= chunk.past + linear) {
    auto token = static_cast<std::size_t>(query);
    for (std::int64_t s = 0; s < seq; ++s)
      token += static_cast<std::size_t>(chunks[static_cast<std::size_t>(s)].new_tokens);
    if ((tree[token] >> (key - chunk.past - linear) & 1U) == 0) return false;
  }
  if (mask.sparse_rows == 0) return true;
  const auto row = static_cast<std::size_t>((seq * heads + head) * mask.sparse_rows + query / kSparseBlock);
  return std::find(sparse_blocks.begin() + sparse_offsets[row],
                   sparse_blocks.begin() + sparse_offsets[row + 1],
                   key / kSparseBlock) != sparse_blocks.begin() + sparse_offsets[row + 1];
}

PrefillSums sums_of(const PrefillShape& shape) {
  const PrefillBatch batch = batch_of(shape);
  PrefillSums sums;
  std::size_t token = 0, row = 0;
  for (const auto& chunk : batch.chunks) {
    const double before = sums.keys;
    sums.new_tokens += static_cast<double>(chunk.new_tokens);
    if (shape.sparse_percent > 0) {
      add_blocks(sums, batch, chunk, shape.heads, row);
    } else if (shape.tree > 0) {
      add_tree(sums, batch, chunk, shape.tree, token);
    } else {
      add_intervals(sums, shape, chunk);
    }
    sums.longest = std::max(sums.longest, sums.keys - before);
  }
  return sums;
}

Case prefill_case(const PrefillShape& s) {
  const PrefillSums sums = sums_of(s);
  Case c;
  c.call = make_call(
      kAttentionPrefill,
      {static_cast<double>(s.seqs), sums.new_tokens, sums.pairs, sums.keys, sums.longest,
       static_cast<double>(s.heads), static_cast<double>(s.kv_heads), static_cast<double>(s.head_dim)},
      s.format, s.format);
  c.call.role = "attention";
  c.variant = variant_of(s);
  c.with = {{"new", s.new_tokens}, {"past", s.past}, {"block_size", s.block_size}};
  const auto add = [&](const char* name, std::int64_t value) {
    if (value != 0) c.with[name] = value;
  };
  add("ragged", s.ragged), add("window", s.window), add("sinks", s.sinks), add("tree", s.tree);
  add("bidirectional", s.bidirectional), add("sparse_percent", s.sparse_percent);
  add("block_queries", s.block_queries);
  return c;
}

PrefillShape shape_of(const Case& c) {
  const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
  PrefillShape s;
  s.seqs = dim(0), s.heads = dim(5), s.kv_heads = dim(6), s.head_dim = dim(7), s.format = c.call.dtype;
  s.new_tokens = c.option("new", 1), s.past = c.option("past", 0);
  s.block_size = c.option("block_size", 16), s.ragged = c.option("ragged", 0);
  s.window = c.option("window", 0), s.sinks = c.option("sinks", 0), s.tree = c.option("tree", 0);
  s.bidirectional = c.option("bidirectional", 0), s.sparse_percent = c.option("sparse_percent", 0);
  s.block_queries = c.option("block_queries", 0);
  return s;
}

}  // namespace orrery::kernels
