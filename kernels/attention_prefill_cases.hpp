#pragma once

#include <cstdint>
#include <vector>

#include "attention_mask.hpp"
#include "component.hpp"
#include "ops/batch_shape.hpp"

namespace orrery::kernels {

// What a case of attention_prefill stands for: the batch behind the class's sums.

/// A batch of equal or ragged chunks under one kind of mask, in the words of a case's options. A plain causal
/// mask is window = sinks = tree = sparse_percent = bidirectional = 0.
struct PrefillShape {
  std::int64_t seqs = 1, new_tokens = 1, past = 0;  ///< per sequence; the longest of a ragged batch
  std::int64_t heads = 1, kv_heads = 1, head_dim = 128;
  DType format = DType::bf16;
  std::int64_t block_size = 16;  ///< of the paged cache; 0 = contiguous K and V
  std::int64_t ragged = 0;       ///< 1: sequence i of n has (i + 1) / n of the new tokens and of the past
  std::int64_t window = 0, sinks = 0, tree = 0, bidirectional = 0;
  std::int64_t block_queries = 0;   ///< queries per block of threads; 0 = as prefill_block_queries() says
  std::int64_t sparse_percent = 0;  ///< block-sparse: of the causal key blocks of a query block
};

Case prefill_case(const PrefillShape& shape);
/// The inverse of prefill_case.
PrefillShape shape_of(const Case& c);

/// The batch itself, with the mask's arrays on the host (the mask's pointers are not set).
struct PrefillBatch {
  std::vector<PrefillChunk> chunks;
  AttentionMask mask;
  std::vector<std::uint64_t> tree;  ///< a word for every new token, zero where it is no node
  std::vector<std::int32_t> sparse_offsets, sparse_blocks;

  /// Whether new token `query` of sequence `seq` sees `key` in head `head`: the definition of each mask,
  /// spelt out for references and counts.
  bool sees(std::int64_t heads, std::int64_t seq, std::int64_t head, std::int64_t query,
            std::int64_t key) const;
};
PrefillBatch batch_of(const PrefillShape& shape);

/// The class's sums over a batch, per head (of block-sparse masks: the mean over the heads).
struct PrefillSums {
  double new_tokens = 0, pairs = 0, keys = 0, longest = 0;
};
PrefillSums sums_of(const PrefillShape& shape);

}  // namespace orrery::kernels
