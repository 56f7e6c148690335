#pragma once

#include <cstdint>
#include <optional>

#include "base/units.hpp"
#include "model/model_spec.hpp"

namespace orrery {

/// What speculation adds to a step (the decoder's side of a price): several tokens per sequence to verify,
/// and what drafts the next ones. The default is plain decoding.
///
/// A draft model runs `passes` times a step, as vLLM v1 does (spec_decode/eagle.py): the first pass over all
/// tokens of the target's step, prompts included, so that its KV cache keeps up; the others over one token of
/// each sequence. Logits are computed for one row of each sequence and pass.
struct Drafting {
  std::int64_t queries = 1;     ///< tokens each sequence of the decode set computes: gamma + 1
  std::int64_t pace_steps = 1;  ///< TokenPace::steps of the sets to be priced: prices stay whole picoseconds
  std::optional<ModelSpec> model;  ///< none: drafts come from the host, or the target itself
  std::int64_t passes = 0;         ///< of that model
  /// Widths of the model's hidden size that a projection joins before its layers (EAGLE and MTP: the token's
  /// embedding and the target's hidden state, 2); 0 = no such projection.
  int joined_inputs = 0;
  std::optional<Precision> precision;  ///< of the draft; none = the target's
  Seconds host{0};                     ///< drafting on the host, after the step and before the next
};

}  // namespace orrery
