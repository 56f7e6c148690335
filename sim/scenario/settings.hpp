#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// One value of a scenario, under one name everywhere: the key in a scenario file, the flag of `orrery run`
/// (with '-' for '_') and the engine's own argument.
struct Setting {
  std::string name;       ///< "max_num_seqs"
  std::string section;    ///< of a scenario file: "hardware", "engine_args", "workload", ...; "" = top level
  std::string group;      ///< of the help
  std::string shorthand;  ///< "m", "tp"
  std::string placeholder;  ///< "N"; "" = true or false
  std::string help;
  std::function<void(Scenario&, const std::string&)> set;  ///< throws ConfigError("expected ..., found ...")
  std::function<Json(const Scenario&)> get;                ///< null = not set: the engine's default
  bool repeatable = false;                                 ///< given again, values are joined with ','
  bool json = false;                                       ///< an object, given as JSON
};

/// All settings, in the order of the help.
const std::vector<Setting>& settings();
/// null when there is none of this name.
const Setting* find_setting(std::string_view name);

/// Titles of the help groups, in order: {"model", "Model and hardware"}, ...
const std::vector<std::pair<std::string, std::string>>& setting_groups();

/// "name:key=value,key=value", as in `--arrivals gamma:cv=2`; a field without '=' has key "".
struct NamedSpec {
  std::string name;
  std::vector<std::pair<std::string, std::string>> fields;
};
NamedSpec parse_named_spec(std::string_view text);

}  // namespace orrery
