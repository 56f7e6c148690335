#pragma once

#include <array>
#include <cstdint>

#include "base/units.hpp"
#include "ops/key_cap.hpp"

namespace orrery {

/// Distinct caps on the keys of attention a model may have (ModelSpec::caps()).
inline constexpr int kMaxWindows = 6;

/// A decode set as schedulers keep it and prices see it: aggregates only. With caps, `windowed[i]` sums
/// cap_i.of(context) and `growing[i]` counts the sequences still below cap_i (whose sum grows by one a step).
struct DecodeSet {
  std::int64_t seqs = 0;
  Tokens context = 0;  ///< KV tokens read in the next step, summed (own new token included)
  std::array<Tokens, kMaxWindows> windowed{};  ///< in ModelSpec::caps() order
  std::array<std::int64_t, kMaxWindows> growing{};

  /// The same sequences `steps` steps later, if none crosses a cap in between.
  DecodeSet advanced(std::int64_t steps) const {
    DecodeSet later = *this;
    later.context += steps * seqs;
    for (std::size_t i = 0; i < windowed.size(); ++i) later.windowed[i] += steps * growing[i];
    return later;
  }
  bool operator==(const DecodeSet&) const = default;
};

}  // namespace orrery
