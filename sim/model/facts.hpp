#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "model/family_map.hpp"

namespace orrery {

/// A model's facts by our names for them ("hidden", "kv_heads", ...), as its family finds them in one config
/// object: from the config's keys, else from the family's defaults, which may be expressions over other
/// facts.
class Facts {
 public:
  /// `beside`: the object around a nested text model, which may hold what the nested one does not repeat.
  Facts(const JsonView& view, const FamilyMap& family, const Json* beside = nullptr)
      : view_(view), family_(family), beside_(beside) {}

  /// Sets a name that expressions may use beside the facts: layer, layers.
  void set(const std::string& name, Json value) { variables_[name] = std::move(value); }

  bool has(const std::string& name) const { return family_.fields.count(name) > 0; }
  /// Errors: ConfigError when the fact is required and missing, contradictory, or of the wrong kind.
  Json value(std::string_view name) const;
  /// An expression over the facts. Errors: as value(), and as evaluate().
  Json expression(const std::string& text) const;

  /// A whole number. Errors: ConfigError when it is outside [low, high] or not whole.
  std::int64_t size(const std::string& name, std::int64_t low, std::int64_t high) const;
  bool flag(const std::string& name) const;
  std::string text(const std::string& name) const;  ///< "" when null

  /// Fails about a fact: at the config's key that gave it, or at the family's file when none did.
  [[noreturn]] void fail(const std::string& name, const std::string& why, const std::string& hint = {}) const;
  /// Errors: ConfigError for the first of the family's checks that does not hold.
  void check() const;

  const JsonView& view() const { return view_; }
  const FamilyMap& family() const { return family_; }

 private:
  struct Given {
    std::string key;
    const Json* value;
  };
  const FieldRule& rule(std::string_view name) const;
  bool holds(const FieldCheck& check) const;
  std::optional<Given> given(const FieldRule& rule) const;
  Json fallback(std::string_view name, const FieldRule& rule) const;
  void check_words(const FieldRule& rule, const Given& given) const;

  const JsonView& view_;
  const FamilyMap& family_;
  const Json* beside_;
  std::map<std::string, Json, std::less<>> variables_;
  mutable int depth_ = 0;  ///< of facts that are defined by facts
};

}  // namespace orrery
