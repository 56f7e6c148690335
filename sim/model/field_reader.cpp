#include "model/field_reader.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace orrery {

std::int64_t FieldReader::size(const std::string& name, std::int64_t low, std::int64_t high) {
  const FieldRule& rule = find(name);
  const auto key = present(rule);
  const std::int64_t v = key ? view_.integer(*key) : evaluate(fallback(rule, name), name);
  if (v >= low && v <= high) return v;
  view_.fail(key.value_or(name), fmt::format("expected {} to {}, found {}", low, high, v));
}

bool FieldReader::flag(const std::string& name) {
  const FieldRule& rule = find(name);
  if (const auto key = present(rule)) return view_.boolean_or(*key, false);
  const Json value = fallback(rule, name);
  if (!value.is_boolean()) bad_map(name);
  return value.get<bool>();
}

std::string FieldReader::text(const std::string& name) {
  const FieldRule& rule = find(name);
  if (const auto key = present(rule)) return view_.text(*key);
  return rule.fallback.is_string() ? rule.fallback.get<std::string>() : "";
}

const FieldRule& FieldReader::find(const std::string& name) const {
  const auto it = family_.fields.find(name);
  if (it == family_.fields.end()) bad_map(name);
  return it->second;
}

void FieldReader::bad_map(const std::string& name) const {
  throw ConfigError(fmt::format("family '{}' has no usable rule for '{}'", family_.model_type, name))
      .at(family_.path);
}

/// The synonym that is given; two that disagree are refused.
std::optional<std::string> FieldReader::present(const FieldRule& rule) const {
  std::optional<std::string> found;
  for (const auto& key : rule.keys) {
    if (!view_.has(key)) continue;
    if (found && view_.value().at(key) != view_.value().at(*found)) {
      view_.fail(key, fmt::format("contradicts '{}'", *found));
    }
    if (!found) found = key;
  }
  return found;
}

Json FieldReader::fallback(const FieldRule& rule, const std::string& name) const {
  const bool explicit_null = std::any_of(rule.keys.begin(), rule.keys.end(),
                                         [&](const auto& key) { return view_.value().contains(key); });
  if (explicit_null && !rule.when_null.is_null()) return rule.when_null;
  if (!rule.fallback.is_null()) return rule.fallback;
  if (rule.keys.empty()) bad_map(name);
  view_.fail(rule.keys.front(),
             fmt::format("this field is required for model_type '{}'", family_.model_type));
}

/// A number, another field's name, or the quotient of two fields.
std::int64_t FieldReader::evaluate(const Json& value, const std::string& name) {
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_string()) bad_map(name);
  constexpr std::int64_t kAny = std::int64_t{1} << 40;
  const auto expression = value.get<std::string>();
  const auto slash = expression.find(" / ");
  if (slash == std::string::npos) return size(expression, 0, kAny);
  const std::int64_t above = size(expression.substr(0, slash), 1, kAny);
  const std::int64_t below = size(expression.substr(slash + 3), 1, kAny);
  if (above % below != 0) {
    view_.fail(name, fmt::format("not given, and {} = {} / {} is not whole", expression, above, below));
  }
  return above / below;
}

}  // namespace orrery
