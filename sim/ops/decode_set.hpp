#pragma once

#include <array>
#include <cstdint>

#include "base/units.hpp"

namespace orrery {

/// Distinct attention windows a model may have.
inline constexpr int kMaxWindows = 4;

/// A decode set as schedulers keep it and prices see it: aggregates only. With windows, `windowed[i]` sums
/// min(context, window_i) and `growing[i]` counts the sequences still below window_i (whose sum grows by one
/// a step).
struct DecodeSet {
  std::int64_t seqs = 0;
  Tokens context = 0;  ///< KV tokens read in the next step, summed (own new token included)
  std::array<Tokens, kMaxWindows> windowed{};  ///< in ModelSpec::windows() order
  std::array<std::int64_t, kMaxWindows> growing{};

  /// The same sequences `steps` steps later, if none crosses a window in between.
  DecodeSet advanced(std::int64_t steps) const {
    DecodeSet later = *this;
    later.context += steps * seqs;
    for (std::size_t i = 0; i < windowed.size(); ++i) later.windowed[i] += steps * growing[i];
    return later;
  }
  bool operator==(const DecodeSet&) const = default;
};

}  // namespace orrery
