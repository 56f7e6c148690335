#include "scenario_options.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "scenario/settings.hpp"

namespace orrery {

ScenarioOptions::ScenarioOptions(Options& options, const std::vector<std::string>& groups) {
  for (const auto& [key, title] : setting_groups()) {
    if (!groups.empty() && std::find(groups.begin(), groups.end(), key) == groups.end()) continue;
    options.group(key, title);
    for (const auto& setting : settings()) {
      if (setting.group != key) continue;
      std::string names = setting.name;
      std::replace(names.begin(), names.end(), '_', '-');
      if (!setting.shorthand.empty()) names += ',' + setting.shorthand;
      // Checked at once, so that the complaint names the flag.
      const auto apply = [this, &setting](const std::string& value) {
        Scenario scratch;
        setting.set(scratch, value);
        flags_.push_back({setting.name, value, "flag", "", 0});
      };
      if (setting.placeholder.empty()) {
        options.toggle(names, apply, setting.help);
      } else {
        options.value(names, apply, setting.placeholder, setting.help);
      }
    }
    if (key == "engine") {
      options.value("engine-args", engine_args_, "COMMAND",
                    "a pasted 'vllm serve ...', 'sglang ...' or 'trtllm-serve ...'; flags win over it");
    }
  }
}

Assignments ScenarioOptions::assignments(const std::string& engine) const {
  Assignments all;
  warnings_.clear();
  for (const auto& text : engine_args_) {
    auto command = parse_engine_command(text, engine);
    all.insert(all.end(), command.assignments.begin(), command.assignments.end());
    warnings_.insert(warnings_.end(), command.warnings.begin(), command.warnings.end());
  }
  all.insert(all.end(), flags_.begin(), flags_.end());
  return all;
}

Scenario ScenarioOptions::resolve(const std::string& file) const {
  Assignments all;
  if (!file.empty()) all = read_scenario_file(file);
  std::string engine = orrery::resolve(all).engine;
  for (const auto& flag : flags_) {
    if (flag.name == "engine") engine = flag.value;
  }
  const Assignments own = assignments(engine);
  all.insert(all.end(), own.begin(), own.end());
  return orrery::resolve(all);
}

int parse_intervals(const std::string& text) {
  if (text == "first-order") return 0;
  if (text == "resimulate") return 24;
  throw ConfigError("unknown intervals '" + text + "'", suggestion(text, {"first-order", "resimulate"}),
                    ExitCode::usage);
}

}  // namespace orrery
