#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "base/json.hpp"
#include "ops/dtype.hpp"

namespace orrery {

/// A parameter struct that names its fields through a static `visit(self, visitor)`.
template <class T>
concept Visited = requires(T& t) {
  T::visit(t, [](std::string_view, auto&) {});
};

/// An enum whose values have words: enum_names(T{})[value].
template <class T>
concept Worded = std::is_enum_v<T> && requires(T t) {
  enum_names(t);
};

/// Gives the value of a JSON leaf: itself, or what an expression comes to. Words are given as they are unless
/// they begin with '='.
using Evaluate = std::function<Json(const Json& leaf, bool word)>;
/// Throws an error that names where a bad leaf's value came from, if it can tell; else returns.
using Blame = std::function<void(const Json& leaf, const std::string& why)>;

/// Leaves as they stand: for files without facts.
Json literal_value(const Json& leaf, bool word);

/// Reads parameter structs from JSON objects whose keys are the names of their fields. Every leaf may be an
/// expression; an optional struct, or an entry of a list, is left out where its "when" is false. Errors:
/// ConfigError naming the block, the field and what is valid.
class BlockReader {
 public:
  BlockReader(const Json& object, Evaluate evaluate, Blame blame, std::string where)
      : object_(object), evaluate_(std::move(evaluate)), blame_(std::move(blame)), where_(std::move(where)) {}

  template <Visited Params>
  Params read() const {
    Params params{};
    std::set<std::string> known{"when"};
    if (!object_.is_object()) fail("expected an object");
    Params::visit(params, [&](std::string_view name, auto& field) {
      const std::string key(name);
      known.insert(key);
      if (const auto it = object_.find(key); it != object_.end()) assign(key, *it, field);
    });
    refuse_unknown(known);
    return params;
  }
  /// Whether the block's "when" holds (it does when absent).
  bool applies() const;

 private:
  [[noreturn]] void fail(const std::string& why) const;
  [[noreturn]] void fail(const std::string& key, const Json& leaf, const std::string& why) const;
  void refuse_unknown(const std::set<std::string>& known) const;
  double number(const std::string& key, const Json& leaf) const;
  std::int64_t whole(const std::string& key, const Json& leaf, std::int64_t most) const;
  std::string word(const std::string& key, const Json& leaf) const;
  std::size_t index(const std::string& key, const Json& leaf, std::span<const std::string_view> names) const;

  void assign(const std::string& key, const Json& leaf, bool& out) const;
  void assign(const std::string& key, const Json& leaf, double& out) const { out = number(key, leaf); }
  void assign(const std::string& key, const Json& leaf, std::string& out) const { out = word(key, leaf); }
  void assign(const std::string& key, const Json& leaf, DType& out) const;
  template <std::integral T>
  requires(!std::is_same_v<T, bool>) void assign(const std::string& key, const Json& leaf, T& out) const {
    constexpr std::int64_t most = sizeof(T) >= 8 ? std::int64_t{1} << 50 : (std::int64_t{1} << 31) - 1;
    out = static_cast<T>(whole(key, leaf, most));
  }
  template <Worded T>
  void assign(const std::string& key, const Json& leaf, T& out) const {
    out = static_cast<T>(index(key, leaf, enum_names(T{})));
  }
  template <Visited T>
  void assign(const std::string& key, const Json& leaf, T& out) const {
    out = inner(key, leaf).template read<T>();
  }
  template <class T>
  void assign(const std::string& key, const Json& leaf, std::optional<T>& out) const {
    out.reset();
    if (leaf.is_null()) return;
    if constexpr (Visited<T>) {
      if (!inner(key, leaf).applies()) return;
    }
    T value{};
    assign(key, leaf, value);
    out = std::move(value);
  }
  template <class T>
  void assign(const std::string& key, const Json& leaf, std::vector<T>& out) const {
    const Json list = leaf.is_array() ? leaf : evaluate_(leaf, false);
    if (!list.is_array()) fail(key, leaf, fmt::format("expected a list, found {}", list.dump()));
    out.clear();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string name = fmt::format("{}[{}]", key, i);
      if constexpr (Visited<T>) {
        if (!inner(name, list[i]).applies()) continue;
      }
      T value{};
      assign(name, list[i], value);
      out.push_back(std::move(value));
    }
  }
  BlockReader inner(const std::string& key, const Json& object) const {
    return {object, evaluate_, blame_, where_ + "." + key};
  }

  const Json& object_;
  Evaluate evaluate_;
  Blame blame_;
  std::string where_;
};

/// A block of a file without facts. Errors: as BlockReader.
template <Visited Params>
Params read_block(const Json& object, const std::string& where) {
  return BlockReader(object, literal_value, nullptr, where).read<Params>();
}

/// The fields of a parameter struct that differ from their defaults, under their names.
template <Visited Params>
Json describe_block(const Params& params);

namespace detail {
inline Json describe_value(bool v) {
  return v;
}
inline Json describe_value(double v) {
  return v;
}
inline Json describe_value(const std::string& v) {
  return v;
}
inline Json describe_value(DType v) {
  return std::string(name(v));
}
template <std::integral T>
requires(!std::is_same_v<T, bool>) Json describe_value(T v) {
  return v;
}
template <Worded T>
Json describe_value(T v) {
  return std::string(enum_names(v)[static_cast<std::size_t>(v)]);
}
template <Visited T>
Json describe_value(const T& v) {
  return describe_block(v);
}
template <class T>
Json describe_value(const std::optional<T>& v) {
  return v ? describe_value(*v) : Json();
}
template <class T>
Json describe_value(const std::vector<T>& values) {
  Json out = Json::array();
  for (const auto& v : values) out.push_back(describe_value(v));
  return out;
}
}  // namespace detail

template <Visited Params>
Json describe_block(const Params& params) {
  Json all = Json::object();
  const auto into = [](Json& out) {
    return [&out](std::string_view name, const auto& field) {
      out[std::string(name)] = detail::describe_value(field);
    };
  };
  Params::visit(params, into(all));
  Json defaults = Json::object();
  const Params identity{};
  Params::visit(identity, into(defaults));
  Json out = Json::object();
  for (const auto& [name, value] : all.items()) {
    if (value != defaults.at(name)) out[name] = value;
  }
  return out;
}

}  // namespace orrery
