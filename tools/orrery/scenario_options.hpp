#pragma once

#include <string>
#include <vector>

#include "options.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// Adds one flag per setting of a scenario (sim/scenario/settings.hpp) to a verb's options, in groups; flags
/// that are given become assignments. `groups` picks some of setting_groups() ("model", "engine", "workload",
/// "synthetic", "clients", "run"); empty = all.
///
///   ScenarioOptions scenario(options, {"model", "engine"});
///   if (!options.parse(args)) return 0;
///   const Scenario s = scenario.resolve();
class ScenarioOptions {
 public:
  explicit ScenarioOptions(Options& options, const std::vector<std::string>& groups = {});
  ScenarioOptions(const ScenarioOptions&) = delete;
  ScenarioOptions& operator=(const ScenarioOptions&) = delete;

  /// Layers: built-in defaults < scenario file (`file`, "" = none) < --engine-args < flags.
  Scenario resolve(const std::string& file = {}) const;
  /// The pasted arguments and flags alone, to be applied over something else.
  Assignments assignments(const std::string& engine = "vllm") const;
  /// Warnings about pasted engine arguments, after resolve() or assignments().
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Assignments flags_;
  std::vector<std::string> engine_args_;
  mutable std::vector<std::string> warnings_;
};

/// --intervals: the number of perturbed runs behind the error bars, 0 = first order. Errors: ConfigError
/// (usage).
int parse_intervals(const std::string& text);

}  // namespace orrery
