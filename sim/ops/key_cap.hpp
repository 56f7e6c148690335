#pragma once

#include <algorithm>
#include <compare>

#include "base/units.hpp"

namespace orrery {

/// How many of a sequence's n tokens one kind of attention reads, or keeps: the last `tokens` of them, all
/// with tokens = 0 (and all of a shorter sequence). With `wraps`, those since the last multiple of `tokens`:
/// ((n - 1) mod tokens) + 1, the chunked attention of Llama 4. Prices stay affine in sums of capped contexts,
/// so that patterns which are not a cap themselves are written as weighted sums of caps (KeyTerm).
struct KeyCap {
  Tokens tokens = 0;
  bool wraps = false;

  constexpr KeyCap() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a number of tokens is a cap
  constexpr KeyCap(Tokens most, bool wrapping = false) : tokens(most), wraps(wrapping) {}

  constexpr Tokens of(Tokens n) const {
    if (tokens == 0 || n < 1) return n;
    return wraps ? (n - 1) % tokens + 1 : std::min(n, tokens);
  }
  constexpr auto operator<=>(const KeyCap&) const = default;
};

/// One addend of the keys a decode query reads, or of the tokens a layer keeps: share * cap.of(n).
struct KeyTerm {
  double share = 1;
  KeyCap cap;
};

}  // namespace orrery
