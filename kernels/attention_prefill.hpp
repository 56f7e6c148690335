#pragma once

#include "attention_mask.hpp"
#include "kv_layout.hpp"

namespace orrery::kernels {

/// Attention of new tokens against all keys of their sequences, cached and new, for a batch of sequences of
/// any lengths in one launch: out = softmax(scale Q K^T, where the mask lets see) V. The keys and values of
/// the new tokens are already in the cache.
struct AttentionPrefillArgs {
  const void* q = nullptr;    ///< [tokens][heads][head_dim]: the new tokens of one sequence after another
  void* out = nullptr;        ///< the same, without gaps between tokens
  std::int64_t q_stride = 0;  ///< elements from one token of q to the next, a multiple of 8; 0 = no gaps
  /// format bf16 or fp16, that of q and out too; block_size a power of two. With block_table = nullptr K and
  /// V are contiguous, [keys][kv_heads][head_dim], those of one sequence after another.
  PagedKv kv;
  const std::int32_t* query_offsets = nullptr;  ///< on the device, [seqs + 1]: first new token, in q
  const std::int32_t* past = nullptr;           ///< on the device, [seqs]: tokens before the new ones
  const std::int32_t* key_offsets = nullptr;    ///< on the device, [seqs]: first key; contiguous K and V only
  int seqs = 0;
  int max_new_tokens = 0;  ///< an upper bound over the batch; it sizes the grid
  int heads = 0;           ///< a multiple of kv.kv_heads
  float scale = 0;         ///< of the scores, usually 1 / sqrt(head_dim)
  int block_queries = 0;   ///< queries per block, 64 or 128 (head_dim 256: 64); prefill_block_queries() knows
  AttentionMask mask;
};

/// Whether there is a kernel for this head dimension (64, 96, 128, 256) and format (bf16, fp16).
bool attention_prefill_supports(int head_dim, DType format);

/// 128 queries per block, which read shared memory least often, unless blocks of 128 are too few for two on
/// each SM: then 64.
int prefill_block_queries(int seqs, int max_new_tokens, int heads, int sm_count);

/// Enqueues it. Rows that see no key become zero. Errors: DeviceError; InternalError for what
/// attention_prefill_supports() denies and for masks that contradict themselves.
void attention_prefill(const AttentionPrefillArgs& args, StreamRef stream);

}  // namespace orrery::kernels
