#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "report/render.hpp"

namespace orrery {

/// "19,366".
std::string grouped(std::int64_t value);
/// With `decimals` decimals and thousands separators; "-" when it is not a number.
std::string grouped(double value, int decimals);
/// About three significant digits: "0.052", "8.10", "96.2", "612", "12,930".
std::string brief(double value);
/// A share: "100.0 %", "33 %" (one decimal when it is close to 0 or 1 but neither).
std::string percent(double share);
/// A length of time in its natural unit: "40.0 s", "58.4 min", "2.3 h", "6.1 d".
std::string duration_text(double seconds);

/// Columns a UTF-8 string takes (one per code point; escape sequences not counted).
std::size_t display_width(std::string_view text);

/// Styles text for a terminal, or leaves it plain.
class Style {
 public:
  explicit Style(const RenderOptions& options) : options_(options) {}
  std::string bold(std::string_view t) const { return wrap("1", t); }
  std::string dim(std::string_view t) const { return wrap("2", t); }
  std::string red(std::string_view t) const { return wrap("31;1", t); }
  std::string green(std::string_view t) const { return wrap("32;1", t); }
  std::string yellow(std::string_view t) const { return wrap("33;1", t); }

  const char* times() const { return options_.ascii ? "x" : "×"; }
  const char* dot() const { return options_.ascii ? "|" : "·"; }
  const char* at_most() const { return options_.ascii ? "<=" : "≤"; }
  const char* at_least() const { return options_.ascii ? ">=" : "≥"; }
  const char* plus_minus() const { return options_.ascii ? "+/-" : "±"; }

  /// " label        part · part · part", broken between parts where the width is used up.
  std::string row(std::string_view label, const std::vector<std::string>& parts) const;
  /// A paragraph broken between words: its first line indented by one column, later ones by `indent`.
  std::string paragraph(std::string_view text, std::size_t indent) const;

 private:
  std::string wrap(const char* code, std::string_view text) const;
  const RenderOptions& options_;
};

}  // namespace orrery
