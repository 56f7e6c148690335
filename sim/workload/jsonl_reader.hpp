#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "workload/line_reader.hpp"

namespace orrery {

/// One JSON object per line, with errors that point at the key in the line.
class JsonLines {
 public:
  JsonLines(ByteStreamPtr stream, const std::string& name) : lines_(std::move(stream), name) {}

  /// Takes the next line's text, not yet parsed.
  bool next() { return lines_.next_filled(text_); }
  std::string_view text() const { return text_; }
  /// Parses the line. Errors: BadRow when it is not one JSON object.
  void parse();

  bool has(const char* key) const;  ///< present and not null
  /// Errors: BadRow unless an integer (or a float of integral value) within [least, kMaxTokens].
  std::int32_t tokens(const char* key, std::int64_t least = 1) const;
  std::int64_t integer(const char* key) const;
  double number(const char* key) const;  ///< Errors: BadRow unless finite
  std::string text(const char* key) const;
  const Json& value() const { return value_; }
  [[noreturn]] void fail(const char* key, const std::string& expected) const;
  [[noreturn]] void fail_row(const std::string& message) const { lines_.bad_row(text_, 1, message); }
  long line() const { return lines_.number(); }
  const std::string& name() const { return lines_.name(); }

 private:
  const Json& require(const char* key) const;

  LineReader lines_;
  std::string_view text_;
  Json value_;
};

/// Estimated tokens of a UTF-8 text (at least 1): its characters divided by `chars_per_token`.
std::int32_t estimate_tokens(std::string_view text, double chars_per_token);

/// Whether the text starts with an object or its first line mentions one of these keys.
bool first_object_has(std::string_view head, std::initializer_list<std::string_view> keys);

}  // namespace orrery
