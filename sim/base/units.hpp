#pragma once

#include <cmath>
#include <compare>
#include <cstdint>
#include <limits>

namespace orrery {

/// A number with a unit. Only same-unit sums, scaling and ratios compile; anything else says what it does.
template <class Tag, class Rep>
struct Quantity {
  using rep = Rep;
  Rep value{};

  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep v) : value(v) {}

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity o) {
    value += o.value;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity o) {
    value -= o.value;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.value + b.value); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.value - b.value); }
  friend constexpr Quantity operator-(Quantity a) { return Quantity(-a.value); }
  friend constexpr Quantity operator*(Quantity a, Rep k) { return Quantity(a.value * k); }
  friend constexpr Quantity operator*(Rep k, Quantity a) { return Quantity(a.value * k); }
  friend constexpr Quantity operator/(Quantity a, Rep k) { return Quantity(a.value / k); }
  friend constexpr Rep operator/(Quantity a, Quantity b) { return a.value / b.value; }
};

/// Simulated time, as a point since the start of the run or as a duration: integer picoseconds.
/// 2^63 ps is 106 days; integers make the closed form of a decode run bit-equal to its steps.
using Ps = Quantity<struct PsTag, std::int64_t>;
using Seconds = Quantity<struct SecondsTag, double>;
using Bytes = Quantity<struct BytesTag, double>;
using Flops = Quantity<struct FlopsTag, double>;
using Joules = Quantity<struct JoulesTag, double>;
using Tokens = std::int64_t;

inline constexpr Ps kNever{std::numeric_limits<std::int64_t>::max()};
inline constexpr double kPsPerSecond = 1e12;
inline constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

constexpr Seconds to_seconds(Ps t) {
  return Seconds(static_cast<double>(t.value) / kPsPerSecond);
}
constexpr double to_ms(Ps t) {
  return static_cast<double>(t.value) * 1e-9;
}
inline Ps to_ps(Seconds s) {
  return Ps(std::llround(s.value * kPsPerSecond));
}
inline Ps ps_from_ms(double ms) {
  return Ps(std::llround(ms * 1e9));
}

}  // namespace orrery
