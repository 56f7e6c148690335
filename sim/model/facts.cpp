#include "model/facts.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "model/expression.hpp"

namespace orrery {
namespace {

/// The value at "a.b" of an object; nullptr when it is absent.
const Json* at_path(const Json& object, const std::string& path) {
  const Json* here = &object;
  for (std::size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find('.', begin), path.size());
    const auto step = path.substr(begin, end - begin);
    if (!here->is_object() || !here->contains(step)) return nullptr;
    here = &here->at(step);
    begin = end + 1;
  }
  return here;
}

std::string first_part(const std::string& path) {
  return path.substr(0, path.find('.'));
}

}  // namespace

const FieldRule& Facts::rule(std::string_view name) const {
  const auto it = family_.fields.find(std::string(name));
  if (it != family_.fields.end()) return it->second;
  throw ConfigError(fmt::format("family '{}' has no rule for '{}'", family_.model_type, name))
      .at(family_.path);
}

/// The synonym that is given; two that disagree are refused. The object around a nested one is asked last.
std::optional<Facts::Given> Facts::given(const FieldRule& rule) const {
  std::optional<Given> found;
  for (const auto& key : rule.keys) {
    const Json* value = at_path(view_.value(), key);
    view_.has(first_part(key));  // known, whatever it holds
    if (value == nullptr || value->is_null()) continue;
    if (found && *value != *found->value) {
      view_.fail(first_part(key), fmt::format("contradicts '{}'", found->key));
    }
    if (!found) found = Given{key, value};
  }
  for (const auto& key : rule.keys) {
    const Json* value = found || beside_ == nullptr ? nullptr : at_path(*beside_, key);
    if (value != nullptr && !value->is_null()) found = Given{key, value};
  }
  return found;
}

Json Facts::fallback(std::string_view name, const FieldRule& rule) const {
  const bool explicit_null = std::any_of(rule.keys.begin(), rule.keys.end(), [&](const auto& key) {
    return at_path(view_.value(), key) != nullptr;
  });
  const Json& chosen = explicit_null && !rule.when_null.is_null() ? rule.when_null : rule.fallback;
  if (chosen.is_null()) {
    if (rule.keys.empty()) {
      throw ConfigError(
          fmt::format("family '{}' gives '{}' neither keys nor a value", family_.model_type, name))
          .at(family_.path);
    }
    view_.fail(first_part(rule.keys.front()),
               fmt::format("this field is required for model_type '{}'", family_.model_type));
  }
  return chosen.is_string() ? expression(chosen.get<std::string>()) : chosen;
}

void Facts::check_words(const FieldRule& rule, const Given& given) const {
  if (rule.per_layer) {
    const auto layers = variables_.find("layers");
    const bool list = given.value->is_array();
    if (!list) view_.fail(first_part(given.key), "expected a list with an entry for each layer");
    if (layers != variables_.end() && given.value->size() != layers->second.get<std::size_t>()) {
      view_.fail(first_part(given.key), fmt::format("expected one entry for each of {} layers, found {}",
                                                    layers->second.get<std::size_t>(), given.value->size()));
    }
  }
  if (rule.words.empty()) return;
  const auto check = [&](const Json& word) {
    if (word.is_string() &&
        std::find(rule.words.begin(), rule.words.end(), word.get<std::string>()) != rule.words.end()) {
      return;
    }
    view_.fail(first_part(given.key), fmt::format("{} is not supported", word.dump()),
               fmt::format("valid values: {}", fmt::join(rule.words, ", ")));
  };
  if (!given.value->is_array()) return check(*given.value);
  for (const Json& word : *given.value) check(word);
}

Json Facts::value(std::string_view name) const {
  if (const auto variable = variables_.find(name); variable != variables_.end()) return variable->second;
  const FieldRule& found = rule(name);
  if (const auto key = given(found)) {
    check_words(found, *key);
    return *key->value;
  }
  if (depth_ > 32) {
    throw ConfigError(fmt::format("family '{}' defines '{}' by itself", family_.model_type, name))
        .at(family_.path);
  }
  ++depth_;
  Json value = fallback(name, found);
  --depth_;
  return value;
}

Json Facts::expression(const std::string& text) const {
  return evaluate(text, [this](std::string_view name) { return value(name); });
}

std::int64_t Facts::size(const std::string& name, std::int64_t low, std::int64_t high) const {
  const Json found = value(name);
  if (!found.is_number()) fail(name, fmt::format("expected a whole number, found {}", found.dump()));
  if (!found.is_number_integer()) {
    fail(name, fmt::format("expected a whole number, found {}", found.dump()));
  }
  const auto v = found.get<std::int64_t>();
  if (v < low || v > high) fail(name, fmt::format("expected {} to {}, found {}", low, high, v));
  return v;
}

bool Facts::flag(const std::string& name) const {
  const Json found = value(name);
  if (!found.is_boolean()) fail(name, fmt::format("expected true or false, found {}", found.dump()));
  return found.get<bool>();
}

std::string Facts::text(const std::string& name) const {
  const Json found = value(name);
  if (found.is_null()) return "";
  if (!found.is_string()) fail(name, fmt::format("expected a text, found {}", found.dump()));
  return found.get<std::string>();
}

void Facts::fail(const std::string& name, const std::string& why, const std::string& hint) const {
  const FieldRule& about = rule(name);
  if (const auto key = given(about)) view_.fail(first_part(key->key), why, hint);
  if (about.fallback.is_string() && !about.keys.empty()) {
    view_.fail(first_part(about.keys.front()),
               fmt::format("not given, and {}: {}", about.fallback.get<std::string>(), why), hint);
  }
  view_.fail(about.keys.empty() ? name : first_part(about.keys.front()), why, hint);
}

/// Whether a check holds. What makes no sense in it (a text for a number) is the field's fault.
bool Facts::holds(const FieldCheck& check) const {
  try {
    const Json holds = expression(check.require);
    return holds.is_boolean() && holds.get<bool>();
  } catch (const ConfigError& e) {
    if (!e.file().empty()) throw;
    fail(check.field, fmt::format("found {}: {}", value(check.field).dump().substr(0, 60), e.what()));
  }
}

void Facts::check() const {
  for (const auto& check : family_.checks) {
    if (holds(check)) continue;
    std::string why;
    for (std::size_t i = 0; i < check.why.size(); ++i) {
      const auto end = check.why[i] == '{' ? check.why.find('}', i) : std::string::npos;
      if (end == std::string::npos) {
        why += check.why[i];
        continue;
      }
      why += value(check.why.substr(i + 1, end - i - 1)).dump();
      i = end;
    }
    fail(check.field, why);
  }
}

}  // namespace orrery
