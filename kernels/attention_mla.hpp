#pragma once

#include "kv_layout.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

inline constexpr int kMlaLatent = 512, kMlaRope = 64;  // of DeepSeek-V2 and V3, Kimi and GLM-5
inline constexpr int kMlaWidth = kMlaLatent + kMlaRope;

/// Decode attention over latents (DeepSeek-V2, 2024, section 2.1, absorbed): scores from whole rows, values
/// their first kMlaLatent elements, all heads over the same rows.
struct AttentionMlaArgs {
  const bf16* q = nullptr;  ///< [seqs, heads, kMlaWidth]: the absorbed part, then the rotary one
  PagedKv kv;               ///< k: rows of kMlaWidth bf16, kv_heads 1; v is not read
  /// [seqs] on the device: tokens in the cache, the query's own included; 0 = a row that pads the batch.
  const std::int32_t* contexts = nullptr;
  bf16* out = nullptr;  ///< [seqs, heads, kMlaLatent]
  int seqs = 0, heads = 0;
  float scale = 1;             ///< of the scores: 1 / sqrt(head size before absorption)
  int splits = 1;              ///< from attention_mla_splits; any 1..kMaxSplits is correct
  float* workspace = nullptr;  ///< attention_mla_workspace floats, 16-byte aligned; none for one split
};

/// One launch, or two (with the merge) when splits > 1. The grid follows from seqs, heads and splits alone.
void attention_mla(const AttentionMlaArgs& args, StreamRef stream);

/// As of attention_decode: splits that fill a device when the longest sequence has about `max_keys` keys.
int attention_mla_splits(int seqs, int heads, int max_keys, int sm_count);
std::size_t attention_mla_workspace(int seqs, int heads, int splits);  ///< in floats
std::size_t attention_mla_shared_bytes(int heads);  ///< of a block, which a device must offer

}  // namespace orrery::kernels
