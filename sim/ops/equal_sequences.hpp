#pragma once

#include <span>

#include "ops/batch_shape.hpp"
#include "ops/decode_set.hpp"

namespace orrery {

/// A decode set of `seqs` sequences of `context` tokens each. `caps`: the model's (ModelSpec::caps()).
inline DecodeSet equal_sequences(std::span<const KeyCap> caps, std::int64_t seqs, Tokens context) {
  DecodeSet set;
  set.seqs = seqs;
  set.context = seqs * context;
  for (std::size_t i = 0; i < caps.size() && i < set.windowed.size(); ++i) {
    set.windowed[i] = seqs * caps[i].of(context);
    set.growing[i] = caps[i].wraps || context < caps[i].tokens ? seqs : 0;
  }
  return set;
}

/// The same as the shape of a step.
inline BatchShape equal_decodes(std::span<const KeyCap> caps, std::int64_t seqs, Tokens context) {
  BatchShape shape;
  shape.decode_seqs = seqs;
  shape.decode_context = seqs * context;
  for (const KeyCap& cap : caps) shape.windowed_context.push_back(seqs * cap.of(context));
  return shape;
}

}  // namespace orrery
