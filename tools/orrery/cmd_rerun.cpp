#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/version.hpp"
#include "command.hpp"
#include "interrupt.hpp"
#include "options.hpp"
#include "run_output.hpp"

namespace orrery {
namespace {

/// Input files that are no longer what they were.
std::vector<std::string> changed_inputs(const Json& manifest) {
  std::vector<std::string> out;
  if (manifest.value("orrery_version", kVersion) != kVersion) {
    out.push_back(fmt::format("the run was made by orrery {}, this is {}",
                              manifest.value("orrery_version", std::string("?")), kVersion));
  }
  for (const auto& input : manifest.value("inputs", Json::array())) {
    const std::string path = input.value("path", "");
    const auto now = describe_input(path);
    const bool hashed = input.contains("sha256") && input["sha256"].is_string();
    if (hashed && now.sha256 != input["sha256"].get<std::string>()) {
      out.push_back(path + " has changed since the run");
    }
  }
  return out;
}

/// Whether the numbers are those of the earlier run.
std::string comparison(const std::string& folder, const RunResult& result) {
  std::error_code ignored;
  const std::string path = folder + "/summary.json";
  if (!std::filesystem::exists(path, ignored)) return {};
  const bool same = JsonDocument::load(path)->root() == Json::parse(to_json(result).dump());
  return same ? "the numbers equal those of " + path : "the numbers differ from those of " + path;
}

int run(const std::vector<std::string>& args) {
  std::string folder, out;
  RunOptions run;
  Options options("rerun", "Runs again what a run directory's manifest.json describes.");
  options.positional("DIR", folder, "a run directory")
      .group("files", "Files")
      .value("out,o", out, "DIR", "run directory, or none (default: runs/<time>-<model>)");
  if (!options.parse(args)) return 0;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const std::string path = folder + "/manifest.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw ConfigError(folder + " is no run directory: it has no manifest.json",
                      "runs write one with --out DIR");
  }
  const Assignments assignments = read_manifest(path);
  const Scenario scenario = resolve(assignments);
  print_warnings(changed_inputs(JsonDocument::load(path)->root()), options.output());
  run.out = choose_directory(out, scenario.model);
  run.progress = options.output().progress();
  run.stop = &catch_interrupt();
  run.argv = {"orrery", "rerun"};
  run.argv.insert(run.argv.end(), args.begin(), args.end());
  const RunResult result = run_scenario(scenario, run);
  print_notes(result.notes, options.output());
  if (result.directory != folder) print_notes({comparison(folder, result)}, options.output());
  return print_result(result, options.output());
}

const Registration<Commands> registered{"rerun", "run again what a run directory describes", run};

}  // namespace
}  // namespace orrery
