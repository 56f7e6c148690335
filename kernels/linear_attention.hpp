#pragma once

#include <cstdint>
#include <vector>

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

// Linear attention with a matrix state per head, S[key_dim, value_dim], for each token in turn
//   S = decay S;  S += k x^T;  out = scale q^T S + skip v
// with x = beta v, or x = beta (v - k^T S) by the delta rule. decay is a scalar or, with `gate`, a factor per
// key channel; both are given as logarithms, not above zero.

/// What prompts and single tokens have in common. Tokens of all sequences are packed one after another.
struct LinearInputs {
  const bf16* q = nullptr;       ///< [tokens, key_heads, key_dim]
  const bf16* k = nullptr;       ///< as q; heads / key_heads heads share one
  const bf16* v = nullptr;       ///< [tokens, heads, value_dim]
  const float* decay = nullptr;  ///< log; [tokens, heads], with constant_decay [heads]; nullptr: none
  const bf16* gate = nullptr;    ///< log; [tokens, heads, key_dim], instead of decay
  const float* beta = nullptr;   ///< [tokens, heads]; nullptr: 1 (the delta rule needs it)
  const float* skip = nullptr;   ///< [heads]; nullptr: 0 (not with the delta rule)
  bf16* out = nullptr;           ///< [tokens, heads, value_dim]
  float* state = nullptr;        ///< [seqs, heads, key_dim, value_dim], read and written
  /// Elements from one token to the next of q and k, and of v, a multiple of 8 (slices of what one projection
  /// or convolution gave); 0: packed as above.
  std::int64_t key_pitch = 0, value_pitch = 0;
  int seqs = 0, heads = 0, key_heads = 0;
  int key_dim = 0, value_dim = 0;  ///< key_dim 64, 128 or 256; value_dim a multiple of 64
  bool constant_decay = false, delta = false;
  float scale = 1.0F;
};

/// A chunk's tokens among the packed ones.
struct ChunkSpan {
  std::int32_t first = 0, tokens = 0;
};
/// How prompts divide into chunks: `starts`[i] is sequence i's first chunk, one more entry at the end.
struct ChunkPlan {
  std::vector<ChunkSpan> spans;
  std::vector<std::int32_t> starts;
};
ChunkPlan plan_chunks(const std::vector<std::int64_t>& lengths, int chunk);

/// Prompts in chunks of 64 tokens (or 128: key_dim 64 and 128 without gate and delta rule). key_dim 256 goes
/// with every rule but the delta rule with a gate per channel.
struct LinearAttentionArgs {
  LinearInputs in;
  const ChunkSpan* chunks = nullptr;           ///< [chunk_count] (ChunkPlan)
  const std::int32_t* chunk_starts = nullptr;  ///< [seqs + 1]
  bf16* chunk_states = nullptr;                ///< workspace [chunk_count, heads, key_dim, value_dim]
  bf16* w = nullptr;                           ///< workspace of the delta rule [tokens, heads, key_dim]
  bf16* u = nullptr;                           ///< the same [tokens, heads, value_dim]
  int chunk_count = 0, chunk = 64;
};
bool linear_attention_knows(int key_dim, int value_dim, int chunk, bool gate, bool delta);
/// Bytes of shared memory per block, the most of its kernels.
std::size_t linear_attention_shared_bytes(int key_dim, int chunk, bool gate, bool delta);
void linear_attention(const LinearAttentionArgs& args, StreamRef stream);

/// One token per sequence.
void linear_decode(const LinearInputs& in, StreamRef stream);

/// The same inputs with pitches that are not zero.
LinearInputs with_pitches(LinearInputs in);

}  // namespace orrery::kernels
