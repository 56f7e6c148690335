#pragma once

#include <cstdint>
#include <vector>

#include "base/units.hpp"

namespace orrery {

/// `new_tokens` prompt tokens computed against `past` tokens that are already in the KV cache.
struct PrefillChunk {
  Tokens new_tokens = 0;
  Tokens past = 0;
  std::int64_t images = 0;  ///< whose encoder runs before this chunk
};

/// The shape of one step: a decode set known only through aggregates, and prefill chunks.
/// Sequences in the decode set compute one token each; `decode_context` sums the KV tokens each of them
/// reads, its own new token included. A model with caps on its attention also needs the sum of the capped
/// contexts: `windowed_context[i]` belongs to the model's i-th distinct cap (ModelSpec::caps()). With
/// speculative decoding each sequence of the set computes `decode_queries` tokens at once, the drafted ones
/// included.
struct BatchShape {
  std::int64_t decode_seqs = 0;
  Tokens decode_context = 0;
  std::vector<Tokens> windowed_context;
  std::vector<PrefillChunk> chunks;
  std::int64_t padded_tokens =
      0;  ///< tokens the dense kernels run on after CUDA-graph padding; 0 = no padding
  std::int64_t decode_queries = 1;  ///< tokens each sequence of the decode set computes

  Tokens prefill_tokens() const {
    Tokens n = 0;
    for (const auto& c : chunks) n += c.new_tokens;
    return n;
  }
  Tokens tokens() const { return decode_seqs * decode_queries + prefill_tokens(); }
  Tokens dense_tokens() const { return padded_tokens > tokens() ? padded_tokens : tokens(); }
  /// Rows for which logits are computed: one per scheduled prompt (unfinished ones included, as vLLM v1 does)
  /// and per token of the decode set.
  std::int64_t logit_rows() const {
    return decode_seqs * decode_queries + static_cast<std::int64_t>(chunks.size());
  }
};

}  // namespace orrery
