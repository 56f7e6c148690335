#include "workload/jsonl_reader.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "workload/trace_reader.hpp"

namespace orrery {

void JsonLines::parse() {
  std::size_t bad_byte = 0;
  bool too_large = false;
  try {
    value_ = Json::parse(text_.begin(), text_.end());
  } catch (const Json::parse_error& e) {
    bad_byte = std::min(e.byte, text_.size() + 1);
  } catch (const Json::out_of_range&) {  // a number beyond the range of double
    too_large = true;
  }
  if (too_large) lines_.bad_row(text_, 1, "the line holds a number that is too large");
  if (bad_byte > 0) lines_.bad_row(text_, bad_byte, "the line is not valid JSON");
  if (!value_.is_object()) lines_.bad_row(text_, 1, "expected one JSON object per line");
}

bool JsonLines::has(const char* key) const {
  const auto it = value_.find(key);
  return it != value_.end() && !it->is_null();
}

const Json& JsonLines::require(const char* key) const {
  if (!has(key)) lines_.bad_row(text_, 1, std::string("missing key '") + key + "'");
  return value_.at(key);
}

std::int32_t JsonLines::tokens(const char* key, std::int64_t least) const {
  const double v = number(key);
  if (v != std::floor(v)) fail(key, "an integer");
  if (v < static_cast<double>(least)) fail(key, "at least " + std::to_string(least));
  if (v > static_cast<double>(kMaxTokens)) fail(key, "at most 1,000,000,000 tokens");
  return static_cast<std::int32_t>(v);
}

std::int64_t JsonLines::integer(const char* key) const {
  const Json& v = require(key);
  if (v.is_number_unsigned() && v.get<std::uint64_t>() > INT64_MAX) fail(key, "an integer of 64 bits");
  if (v.is_number_integer()) return v.get<std::int64_t>();
  const double d = number(key);
  if (d != std::floor(d) || std::abs(d) > 9e15) fail(key, "an integer");
  return static_cast<std::int64_t>(d);
}

double JsonLines::number(const char* key) const {
  const Json& v = require(key);
  if (!v.is_number() || !std::isfinite(v.get<double>())) fail(key, "a number");
  return v.get<double>();
}

std::string JsonLines::text(const char* key) const {
  const Json& v = require(key);
  if (!v.is_string()) fail(key, "a string");
  return v.get<std::string>();
}

void JsonLines::fail(const char* key, const std::string& expected) const {
  const auto at = text_.find(fmt::format("\"{}\"", key));
  const Json& value = value_.at(key);
  std::string found = value.is_structured()
                          ? std::string("an ") + value.type_name()  // dump() of deep ones recurses
                          : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (found.size() > 60) found = found.substr(0, 57) + "...";
  lines_.bad_row(text_, at == std::string_view::npos ? 1 : at + 1,
                 std::string(key) + ": expected " + expected + ", found " + printable(found));
}

std::int32_t estimate_tokens(std::string_view text, double chars_per_token) {
  const auto continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  const auto chars = static_cast<double>(text.size()) -
                     static_cast<double>(std::count_if(text.begin(), text.end(), continuation));
  return static_cast<std::int32_t>(std::clamp(std::round(chars / chars_per_token), 1.0, double(kMaxTokens)));
}

bool first_object_has(std::string_view head, std::initializer_list<std::string_view> keys) {
  const auto line = first_line(head);
  if (line.empty() || line.front() != '{') return false;
  return std::any_of(keys.begin(), keys.end(), [&](std::string_view key) {
    return line.find(fmt::format("\"{}\"", key)) != std::string_view::npos;
  });
}

}  // namespace orrery
