#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>

#include "base/units.hpp"

namespace orrery {

/// Fast fixed-point text for large CSV files: each writes at `out` and returns the end.
inline char* write_integer(char* out, std::int64_t value) {
  return std::to_chars(out, out + 24, value).ptr;
}

/// `value` with `Digits` decimals, where value counts units of 10^-Digits.
template <int Digits>
char* write_fixed(char* out, std::int64_t value) {
  std::int64_t unit = 1;
  for (int i = 0; i < Digits; ++i) unit *= 10;
  if (value < 0) *out++ = '-', value = -value;
  out = write_integer(out, value / unit);
  *out++ = '.';
  std::int64_t fraction = value % unit;
  for (int i = Digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + fraction % 10);
    fraction /= 10;
  }
  return out + Digits;
}

constexpr std::int64_t rounded_us(Ps t) {
  return (t.value + (t.value >= 0 ? 500'000 : -500'000)) / 1'000'000;
}

/// Seconds to the microsecond: "1204.310000".
inline char* write_seconds(char* out, Ps t) {
  return write_fixed<6>(out, rounded_us(t));
}
/// Milliseconds to the microsecond: "24.912".
inline char* write_ms(char* out, Ps t) {
  return write_fixed<3>(out, rounded_us(t));
}
inline char* write_text(char* out, const char* text) {
  const auto n = std::strlen(text);
  std::memcpy(out, text, n);
  return out + n;
}

}  // namespace orrery
