#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "scenario/settings.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

// How settings.cpp and its neighbours bind a setting to a member of Scenario.

enum class ValueForm { plain, duration, rate };

/// Limits of a number and the way it is written.
struct ValueRange {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  ValueForm form = ValueForm::plain;
};

inline void parse_setting(const std::string& text, const ValueRange&, std::string& out) {
  out = text;
}
inline void parse_setting(const std::string& text, const ValueRange&, bool& out) {
  out = parse_boolean(text);
}
void parse_setting(const std::string& text, const ValueRange& range, double& out);

template <class Integer>
requires std::is_integral_v<Integer>
void parse_setting(const std::string& text, const ValueRange& range, Integer& out) {
  constexpr auto widest = static_cast<double>(std::numeric_limits<Integer>::max());
  const double high = std::min({range.high, widest, 9.0e18});
  out = static_cast<Integer>(
      parse_integer(text, static_cast<std::int64_t>(range.low), static_cast<std::int64_t>(high)));
}

template <class T>
void parse_setting(const std::string& text, const ValueRange& range, std::optional<T>& out) {
  T value{};
  parse_setting(text, range, value);
  out = value;
}

template <class T>
Json setting_json(const T& value) {
  if constexpr (std::is_same_v<T, double>)
    return std::isinf(value) ? Json("inf") : Json(value);
  else
    return Json(value);
}
template <class T>
Json setting_json(const std::optional<T>& value) {
  return value ? setting_json(*value) : Json();
}

/// A setting of `section` and `group` whose value is the member that `access` returns.
template <class T>
Setting bind_setting(std::string section, std::string group, std::string name, std::string placeholder,
                     std::string help, T& (*access)(Scenario&), ValueRange range = {}) {
  Setting s;
  s.name = std::move(name);
  s.section = std::move(section);
  s.group = std::move(group);
  s.placeholder = std::move(placeholder);
  s.help = std::move(help);
  s.set = [access, range](Scenario& scenario, const std::string& text) {
    parse_setting(text, range, access(scenario));
  };
  s.get = [access](const Scenario& scenario) {
    return setting_json(access(const_cast<Scenario&>(scenario)));  // the accessor only picks the member
  };
  return s;
}

/// Throws unless `text` is one of the words ("a|b|c").
void require_word(const std::string& text, std::string_view words);

void add_deployment_settings(std::vector<Setting>& out);
void add_pool_settings(std::vector<Setting>& out);
void add_fleet_settings(std::vector<Setting>& out);
void add_migration_settings(std::vector<Setting>& out);
void add_offload_settings(std::vector<Setting>& out);
void add_engine_settings(std::vector<Setting>& out);
void add_kv_offloading_settings(std::vector<Setting>& out);
void add_workload_settings(std::vector<Setting>& out);
void add_prefix_settings(std::vector<Setting>& out);
void add_run_settings(std::vector<Setting>& out);

}  // namespace orrery

/// An accessor of one member, for bind_setting.
#define ORRERY_MEMBER(path) (+[](::orrery::Scenario & s) -> auto& { return s.path; })
