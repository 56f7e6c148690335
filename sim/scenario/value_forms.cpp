#include "scenario/value_forms.hpp"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.hpp"

namespace orrery {

namespace {

[[noreturn]] void refuse(const std::string& expected, std::string_view found) {
  throw ConfigError("expected " + expected + ", found '" + std::string(found) + "'");
}

constexpr double kLongestSeconds = 9.2e6;

/// Reads a decimal number at the front of `text` and removes it; false when there is none.
bool take_number(std::string_view& text, double& value) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value)) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

}  // namespace

std::int64_t parse_count(std::string_view text) {
  constexpr const char* expected = "a whole number such as 8192, 8k (8000) or 8K (8192)";
  constexpr std::string_view decimal = "kmgt", binary = "KMGT";
  std::string_view rest = text;
  double value = 0;
  if (!take_number(rest, value) || rest.size() > 1) refuse(expected, text);
  if (!rest.empty()) {
    if (const auto power = decimal.find(rest[0]); power != std::string_view::npos) {
      value *= std::pow(1000.0, static_cast<double>(power + 1));
      value = std::abs(value - std::round(value)) < 1e-6 ? std::round(value) : value;
    } else if (const auto two = binary.find(rest[0]);
               two != std::string_view::npos && value == std::floor(value)) {
      value *= std::pow(1024.0, static_cast<double>(two + 1));
    } else {
      refuse(expected, text);
    }
  }
  if (value != std::floor(value) || std::abs(value) >= 9.0e15) refuse(expected, text);
  return static_cast<std::int64_t>(value);
}

std::int64_t parse_integer(std::string_view text, std::int64_t low, std::int64_t high) {
  const std::int64_t value = parse_count(text);
  if (value < low || value > high) {
    const std::string upper =
        high == std::numeric_limits<std::int64_t>::max() ? "" : " and at most " + std::to_string(high);
    refuse("a whole number of at least " + std::to_string(low) + upper, text);
  }
  return value;
}

double parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    refuse("a number", text);
  return value;
}

double parse_rate(std::string_view text) {
  if (const auto word = lower(text); word == "inf" || word == "infinity")
    return std::numeric_limits<double>::infinity();
  double value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0) || !std::isfinite(value))
    refuse("a rate per second of at least 0, or inf", text);
  return value;
}

double parse_duration_s(std::string_view text) {
  constexpr std::pair<std::string_view, double> units[] = {
      {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
  constexpr const char* expected = "a duration such as 30s, 500ms, 20m or 1h30m";
  std::string_view rest = text;
  double total = 0;
  bool bare = false;
  while (!rest.empty() || text.empty()) {
    double value = 0;
    if (bare || !take_number(rest, value) || value < 0) refuse(expected, text);
    const auto unit = rest.substr(0, rest.find_first_of("0123456789."));
    bare = unit.empty();
    double scale = bare ? 1 : 0;
    for (const auto& [name, seconds] : units) {
      if (name == unit) scale = seconds;
    }
    if (scale == 0) refuse(expected, text);
    total += value * scale;
    rest.remove_prefix(unit.size());
  }
  // Simulated time is counted in picoseconds, in 63 bits.
  if (total > kLongestSeconds) refuse("a duration of at most 106 days", text);
  return total;
}

bool parse_boolean(std::string_view text) {
  const auto word = lower(text);
  if (word == "true" || word == "yes" || word == "on" || word == "1") return true;
  if (word == "false" || word == "no" || word == "off" || word == "0") return false;
  refuse("true or false", text);
}

}  // namespace orrery
