#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "options.hpp"
#include "report/summary.hpp"
#include "run_output.hpp"
#include "scenario/deployment.hpp"
#include "scenario/settings.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// As a scenario file: sections and values, unset ones left out.
OrderedJson as_scenario(const std::vector<ResolvedValue>& values) {
  OrderedJson json = OrderedJson::object();
  for (const auto& v : values) {
    if (v.section.empty()) json[v.name] = v.value;
  }
  for (const auto& v : values) {
    if (!v.section.empty()) json[v.section][v.name] = v.value;
  }
  return json;
}

void print_with_origin(const std::vector<ResolvedValue>& values) {
  std::size_t widest = 0;
  for (const auto& v : values) widest = std::max(widest, v.name.size());
  std::string section = "?";
  std::string out;
  for (const auto& v : values) {
    if (v.section != section) {
      section = v.section;
      out += fmt::format("{}{}\n", out.empty() ? "" : "\n", section.empty() ? "(top level)" : section);
    }
    const std::string value = v.value.is_null()     ? "-"
                              : v.value.is_string() ? v.value.get<std::string>()
                                                    : v.value.dump();
    out += fmt::format("  {:<{}}  {:<24}  {}\n", v.name, widest, value.empty() ? "\"\"" : value, v.origin);
  }
  std::fputs(out.c_str(), stdout);
}

int show(const std::vector<std::string>& args) {
  std::string file;
  bool resolved = false, origin = false;
  Options options("config show", "The values a run would use, and where each came from.");
  options.positional("SCENARIO", file, "a scenario file (JSON)", false)
      .group("show", "What to show")
      .flag("resolved", resolved, "all values, with the engine's defaults for the device; not only those set")
      .flag("origin", origin, "where each value came from");
  ScenarioOptions scenario(options);
  options.example("orrery config show -m llama-3.1-8b -g h100-sxm --resolved --origin");
  if (!options.parse(args)) return 0;
  const Scenario s = scenario.resolve(file);
  print_warnings(scenario.warnings(), options.output());
  std::optional<Deployment> deployment;
  if (resolved && !s.model.empty() && !s.gpu.empty()) deployment = deploy(s);
  auto values = resolved_values(s, deployment ? &*deployment : nullptr);
  std::erase_if(values, [&](const ResolvedValue& v) {
    return resolved ? v.value.is_null() && !origin : s.origin.count(v.name) == 0;
  });
  if (deployment) print_warnings(deployment->warnings, options.output());
  std::stable_sort(values.begin(), values.end(),
                   [](const auto& a, const auto& b) { return a.section < b.section; });
  if (origin && !options.output().json) {
    print_with_origin(values);
    return 0;
  }
  OrderedJson json = as_scenario(values);
  if (origin) {
    json = OrderedJson::object();
    for (const auto& v : values) json[v.name] = {{"value", v.value}, {"origin", v.origin}};
  }
  std::printf("%s\n", json.dump(2).c_str());
  return 0;
}

/// JSON Schema of one setting: what its text form accepts.
OrderedJson setting_schema(const Setting& s) {
  OrderedJson json;
  if (s.placeholder.empty()) {
    json["type"] = "boolean";
  } else if (s.placeholder == "N" || s.placeholder == "X" || s.placeholder == "R" || s.placeholder == "USD") {
    json["type"] = {"number", "string"};  // "8k", "inf"
  } else if (s.placeholder.find('|') != std::string::npos) {
    json["enum"] = OrderedJson::array();
    for (std::size_t start = 0; start <= s.placeholder.size();) {
      const auto end = std::min(s.placeholder.find('|', start), s.placeholder.size());
      json["enum"].push_back(s.placeholder.substr(start, end - start));
      start = end + 1;
    }
  } else {
    json["type"] = {"string", "number", "array", "object"};
  }
  json["description"] = s.help;
  return json;
}

int schema(const std::vector<std::string>& args) {
  Options options("config schema", "JSON Schema of scenario files, for editors.");
  if (!options.parse(args)) return 0;
  OrderedJson json;
  json["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  json["title"] = "Orrery scenario";
  json["type"] = "object";
  json["additionalProperties"] = false;
  for (const auto& s : settings()) {
    if (s.section.empty()) {
      json["properties"][s.name] = setting_schema(s);
      continue;
    }
    auto& section = json["properties"][s.section];
    section["type"] = "object";
    section["additionalProperties"] = false;
    section["properties"][s.name] = setting_schema(s);
  }
  json["properties"]["router"]["type"] = {"string", "object"};
  std::printf("%s\n", json.dump(2).c_str());
  return 0;
}

int run(const std::vector<std::string>& args) {
  return dispatch("config", "Scenario files and the values a run would use.",
                  {{"show", "the values a run would use, and their origin", show},
                   {"schema", "JSON Schema of scenario files", schema}},
                  args);
}

const Registration<Commands> registered{"config", "the values a run would use, and where they came from",
                                        run};

}  // namespace
}  // namespace orrery
