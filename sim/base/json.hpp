#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace orrery {

using Json = nlohmann::json;

/// A parsed file and its text, kept so that errors can point at a line.
class JsonDocument {
 public:
  /// Errors: ConfigError when the file cannot be read or is not JSON (file, line, column). Bare `Infinity`,
  /// `-Infinity` and `NaN`, which Python writes, are read as null.
  static std::shared_ptr<const JsonDocument> load(const std::string& path);
  static std::shared_ptr<const JsonDocument> parse(std::string text, std::string path);

  const Json& root() const { return root_; }
  const std::string& path() const { return path_; }
  /// The 1-based line on which the value at `pointer` ("/a/b/0") is written; 0 when unknown.
  long line_of(std::string_view pointer) const;
  std::string line_text(long line) const;

 private:
  std::string path_, text_;
  Json root_;
};

/// A strict view of one JSON object: typed access, defaults, and a refusal of keys nobody asked about.
///
///   JsonView v(doc);
///   const double bandwidth = v.number("bandwidth_bytes_per_s");
///   const auto name = v.text_or("name", "unnamed");
///   v.finish();   // throws ConfigError naming an unknown key and the nearest known one
class JsonView {
 public:
  explicit JsonView(std::shared_ptr<const JsonDocument> doc);
  JsonView(std::shared_ptr<const JsonDocument> doc, const Json& value, std::string pointer);

  bool has(const std::string& key) const;  ///< present and not null; marks the key as known
  double number(const std::string& key);   ///< finite; required
  double number_or(const std::string& key, double fallback);
  std::optional<double> number_if(const std::string& key);
  std::int64_t integer(const std::string& key);
  std::int64_t integer_or(const std::string& key, std::int64_t fallback);
  bool boolean_or(const std::string& key, bool fallback);
  std::string text(const std::string& key);
  std::string text_or(const std::string& key, const std::string& fallback);
  std::vector<double> numbers(const std::string& key);  ///< required array of finite numbers
  std::vector<std::string> texts_or(const std::string& key, std::vector<std::string> fallback);
  JsonView object(const std::string& key);
  std::optional<JsonView> object_if(const std::string& key);
  std::vector<JsonView> objects(const std::string& key);  ///< required array of objects
  std::vector<std::string> keys() const;
  const Json& raw(const std::string& key);  ///< required, any type; marks the key as known
  const Json& value() const { return *value_; }

  void ignore(const std::string& key) const { known_.insert(key); }
  void finish() const;
  [[noreturn]] void fail(const std::string& key, const std::string& why, const std::string& hint = {}) const;

 private:
  void require_object() const;
  const Json* find(const std::string& key) const;
  const Json& require(const std::string& key) const;

  std::shared_ptr<const JsonDocument> doc_;
  const Json* value_;
  std::string pointer_;
  mutable std::set<std::string> known_;
};

}  // namespace orrery
