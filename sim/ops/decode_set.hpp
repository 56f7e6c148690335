#pragma once

#include <array>
#include <cstdint>

#include "base/units.hpp"
#include "ops/key_cap.hpp"

namespace orrery {

/// Distinct caps on the keys of attention a model may have (ModelSpec::caps()).
inline constexpr int kMaxWindows = 6;

/// How many tokens each sequence of a decode set gains a step: `tokens` every `steps` steps, as evenly as
/// whole tokens allow. One a step without speculation. `phase` is the part of a token, in 1/steps, by which
/// the pace is ahead of the whole tokens counted so far.
struct TokenPace {
  std::int64_t tokens = 1, steps = 1;
  std::int64_t phase = 0;  ///< in [0, steps)

  /// Whole tokens that `n` more steps bring; negative for n steps back.
  constexpr Tokens after(std::int64_t n) const { return floor_divide(phase + n * tokens, steps); }
  /// Steps until `n` > 0 tokens have come.
  constexpr std::int64_t steps_to(Tokens n) const { return (n * steps - phase + tokens - 1) / tokens; }
  /// The most steps that bring no more than `n` >= 0 tokens.
  constexpr std::int64_t steps_within(Tokens n) const { return ((n + 1) * steps - phase - 1) / tokens; }
  constexpr TokenPace advanced(std::int64_t n) const {
    return {tokens, steps, phase + n * tokens - after(n) * steps};
  }
  constexpr bool operator==(const TokenPace&) const = default;

 private:
  static constexpr std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
  }
};

/// A decode set as schedulers keep it and prices see it: aggregates only. With caps, `windowed[i]` sums
/// cap_i.of(context) and `growing[i]` counts the sequences still below cap_i (whose sum grows by one a
/// token).
struct DecodeSet {
  std::int64_t seqs = 0;
  Tokens context = 0;  ///< KV tokens read in the next step, summed (own new token included)
  std::array<Tokens, kMaxWindows> windowed{};  ///< in ModelSpec::caps() order
  std::array<std::int64_t, kMaxWindows> growing{};
  TokenPace pace{};  ///< of every sequence of the set

  /// The same sequences `steps` steps later, if none crosses a cap in between.
  DecodeSet advanced(std::int64_t steps) const {
    DecodeSet later = *this;
    const Tokens each = pace.after(steps);
    later.context += each * seqs;
    for (std::size_t i = 0; i < windowed.size(); ++i) later.windowed[i] += each * growing[i];
    later.pace = pace.advanced(steps);
    return later;
  }
  bool operator==(const DecodeSet&) const = default;
};

}  // namespace orrery
