#include "model/block_reader.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace orrery {

Json literal_value(const Json& leaf, bool) {
  return leaf;
}

bool BlockReader::applies() const {
  if (!object_.is_object() || !object_.contains("when")) return true;
  const Json holds = evaluate_(object_.at("when"), false);
  if (!holds.is_boolean())
    fail("when", object_.at("when"), fmt::format("expected true or false, found {}", holds.dump()));
  return holds.get<bool>();
}

void BlockReader::fail(const std::string& why) const {
  throw ConfigError(fmt::format("{}: {}", where_, why));
}

void BlockReader::fail(const std::string& key, const Json& leaf, const std::string& why) const {
  if (blame_) blame_(leaf, why);
  throw ConfigError(fmt::format("{}.{}: {}", where_, key, why));
}

void BlockReader::refuse_unknown(const std::set<std::string>& known) const {
  for (const auto& [key, value] : object_.items()) {
    if (known.count(key) > 0) continue;
    throw ConfigError(fmt::format("{}: there is no parameter '{}'", where_, key),
                      fmt::format("parameters: {}", fmt::join(known, ", ")));
  }
}

double BlockReader::number(const std::string& key, const Json& leaf) const {
  const Json value = evaluate_(leaf, false);
  if (!value.is_number()) fail(key, leaf, fmt::format("expected a number, found {}", value.dump()));
  return value.get<double>();
}

std::int64_t BlockReader::whole(const std::string& key, const Json& leaf, std::int64_t most) const {
  const double value = number(key, leaf);
  if (std::floor(value) != value) fail(key, leaf, fmt::format("expected a whole number, found {}", value));
  if (value < 0 || value > static_cast<double>(most)) {
    fail(key, leaf, fmt::format("expected 0 to {}, found {}", most, value));
  }
  return static_cast<std::int64_t>(value);
}

std::string BlockReader::word(const std::string& key, const Json& leaf) const {
  const Json value = evaluate_(leaf, true);
  if (!value.is_string()) fail(key, leaf, fmt::format("expected a word, found {}", value.dump()));
  return value.get<std::string>();
}

std::size_t BlockReader::index(const std::string& key, const Json& leaf,
                               std::span<const std::string_view> names) const {
  const std::string given = word(key, leaf);
  const auto found = std::find(names.begin(), names.end(), given);
  if (found == names.end()) {
    throw ConfigError(fmt::format("{}.{}: '{}' is not known", where_, key, given),
                      fmt::format("valid values: {}", fmt::join(names, ", ")));
  }
  return static_cast<std::size_t>(found - names.begin());
}

void BlockReader::assign(const std::string& key, const Json& leaf, bool& out) const {
  const Json value = evaluate_(leaf, false);
  if (!value.is_boolean()) fail(key, leaf, fmt::format("expected true or false, found {}", value.dump()));
  out = value.get<bool>();
}

void BlockReader::assign(const std::string& key, const Json& leaf, DType& out) const {
  out = parse_dtype(word(key, leaf));
}

}  // namespace orrery
