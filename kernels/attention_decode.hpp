#pragma once

#include "kv_layout.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Attention of one query per sequence over its paged cache. Head h reads KV head h / (heads / kv_heads).
struct AttentionDecodeArgs {
  const bf16* q = nullptr;    ///< [seqs, heads, head_dim]
  std::int64_t q_stride = 0;  ///< elements from one sequence of q to the next, a multiple of 8; 0 = no gaps
  PagedKv kv;                 ///< head_dim 64, 128 or 256; kv_heads divides heads
  /// [seqs] on the device: tokens in the cache, the query's own included. 0 = a row that pads the batch: its
  /// output is zeros, its block table is not read.
  const std::int32_t* contexts = nullptr;
  bf16* out = nullptr;  ///< [seqs, heads, head_dim]
  int seqs = 0, heads = 0;
  int window = 0;              ///< keys a query sees, itself included; 0 = all
  float scale = 1;             ///< of the scores, usually 1 / sqrt(head_dim)
  int splits = 1;              ///< from attention_decode_splits; any 1..kMaxSplits is correct
  float* workspace = nullptr;  ///< attention_decode_workspace floats, 16-byte aligned; none for one split
};

/// One launch, or two (with the merge) when splits > 1. The grid follows from seqs, heads and splits alone: a
/// captured graph serves whatever contexts and block table hold when it is replayed.
void attention_decode(const AttentionDecodeArgs& args, StreamRef stream);

/// Splits that fill a device of `sm_count` multiprocessors when the longest sequence reads about `max_keys`
/// keys.
int attention_decode_splits(int seqs, int heads, int kv_heads, int max_keys, int sm_count);
std::size_t attention_decode_workspace(int seqs, int heads, int head_dim, int splits);  ///< in floats

/// Shared memory of a block, which a device must offer. 0: there is no kernel for this format and head_dim.
std::size_t attention_decode_shared_bytes(DType kv_format, int head_dim);

}  // namespace orrery::kernels
