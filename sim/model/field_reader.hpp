#pragma once

#include <optional>
#include <string>

#include "base/json.hpp"
#include "model/family_map.hpp"

namespace orrery {

/// Reads a family's facts, by our names for them ("hidden", "kv_heads", ...), from one config object.
class FieldReader {
 public:
  FieldReader(JsonView& view, const FamilyMap& family) : view_(view), family_(family) {}

  /// A whole number. Errors: ConfigError when it is missing without a class default, or outside [low, high].
  std::int64_t size(const std::string& name, std::int64_t low, std::int64_t high);
  bool flag(const std::string& name);
  /// "" when it is neither given nor has a default.
  std::string text(const std::string& name);

 private:
  const FieldRule& find(const std::string& name) const;
  [[noreturn]] void bad_map(const std::string& name) const;
  std::optional<std::string> present(const FieldRule& rule) const;
  Json fallback(const FieldRule& rule, const std::string& name) const;
  std::int64_t evaluate(const Json& value, const std::string& name);

  JsonView& view_;
  const FamilyMap& family_;
};

}  // namespace orrery
