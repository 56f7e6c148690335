#include "scenario/scenario.hpp"

#include <map>

#include "base/error.hpp"
#include "scenario/settings.hpp"

namespace orrery {

namespace {

void apply(Scenario& scenario, const Setting& setting, const Assignment& a, const std::string& value) {
  try {
    setting.set(scenario, value);
  } catch (const ConfigError& e) {
    ConfigError error(a.name + ": " + e.what(), e.hint(), e.code());
    if (!a.file.empty()) error.at(a.file, a.line);
    throw error;
  }
  scenario.origin[setting.name] = a.origin;
}

}  // namespace

Scenario resolve(std::span<const Assignment> assignments) {
  Scenario scenario;
  std::map<std::string, std::pair<std::string, std::string>> joined;  // repeatable: (origin, values so far)
  for (const auto& a : assignments) {
    const Setting* setting = find_setting(a.name);
    ORRERY_CHECK(setting, "assignment to an unknown setting: " + a.name);
    // "vllm serve ..." says which engine, not which version: it does not undo an earlier "vllm@0.15.1".
    if (a.origin == kEngineArgsOrigin && a.name == "engine" && scenario.engine.rfind(a.value + "@", 0) == 0)
      continue;
    std::string value = a.value;
    if (setting->repeatable) {
      auto& [origin, text] = joined[a.name];
      if (origin != a.origin) text.clear();  // a later layer replaces, the same layer adds
      origin = a.origin;
      if (!text.empty()) text += ',';
      text += value;
      value = text;
    }
    apply(scenario, *setting, a, value);
  }
  return scenario;
}

}  // namespace orrery
