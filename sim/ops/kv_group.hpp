#pragma once

#include "ops/key_cap.hpp"

namespace orrery {

/// Layers of a model that keep the same of a sequence: all its tokens, some of them, or a state of fixed size
/// beside or instead of them. What an engine allocates by, per rank and sequence of n tokens:
/// state_bytes + bytes_per_token * share * cap.of(n).
struct KvGroup {
  KeyTerm kept;
  double bytes_per_token = 0;  ///< of all layers of the group
  double state_bytes = 0;      ///< of all layers of the group
  int layers = 0;
};

}  // namespace orrery
