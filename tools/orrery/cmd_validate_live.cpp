#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/error.hpp"
#include "cmd_validate.hpp"
#include "options.hpp"
#include "report/output_file.hpp"
#include "report/text.hpp"
#include "run_output.hpp"
#include "scenario/validate_live.hpp"
#include "scenario_options.hpp"

extern char** environ;

namespace orrery {
namespace {

namespace fs = std::filesystem;

std::string signed_percent(double share) {
  return fmt::format("{:+.1f}", 100 * share + 0.0);
}
std::string spread_text(const LiveReport& r, double spread) {
  return r.runs.size() < 2 ? "-" : fmt::format("{:.1f}", 100 * spread);
}

/// "mean_ttft_ms" as it is, but for the throughputs' units.
std::string row_label(const std::string& key) {
  if (key == "request_throughput") return "requests/s";
  if (key == "output_throughput") return "output tokens/s";
  return key;
}

std::string row_table(const LiveReport& r) {
  std::string out = fmt::format(" {:<18}{:>11}{:>10}{:>11}{:>9}{:>8}\n", "", "measured", "+/- %", "predicted",
                                "error %", "aim %");
  for (const auto& row : r.rows) {
    const std::string aim =
        row.aim ? fmt::format("{:>8.0f}  {}", 100 * *row.aim, row.met() ? "met" : "MISSED") : "       -";
    out += fmt::format(" {:<18}{:>11}{:>10}{:>11}{:>9}{}\n", row_label(row.row.key), brief(row.row.measured),
                       spread_text(r, row.spread), brief(row.row.predicted), signed_percent(row.row.error()),
                       aim);
  }
  return out;
}

std::string step_table(const LiveReport& r) {
  std::string out =
      fmt::format("\n {:<44}{:>7}{:>8}{:>13}{:>7}{:>13}{:>9}{:>9}{:>9}\n", "steps", "n", "time %",
                  "measured ms", "+/- %", "predicted ms", "error %", "|med| %", "|p90| %");
  for (const auto& g : r.steps) {
    out += fmt::format(" {:<44}{:>7}{:>8.1f}{:>13.3f}{:>7}{:>13.3f}{:>9}{:>9.1f}{:>9.1f}\n", g.name,
                       grouped(g.steps), 100 * g.share, g.measured_mean_ms, spread_text(r, g.spread),
                       g.predicted_mean_ms, signed_percent(g.error_of_mean()), 100 * g.median_abs,
                       100 * g.p90_abs);
  }
  return out;
}

std::string slice_table(const LiveReport& r) {
  if (r.slices.empty()) return {};
  std::string out = fmt::format("\n {:<25}{:>7}", "errors by request, %", "n");
  for (const Metric m : kPairedMetrics)
    out += fmt::format("  {:>24}", fmt::format("{}: mean |med| |p90|", label(m)));
  out += "\n";
  for (const auto& s : r.slices) {
    out += fmt::format(" {:<25}{:>7}", s.name, grouped(s.requests));
    for (const auto& e : s.errors) {
      out += e.pairs == 0 ? fmt::format("  {:>24}", "-")
                          : fmt::format("  {:>8}{:>8.1f}{:>8.1f}", signed_percent(e.error_of_mean()),
                                        100 * e.median_abs, 100 * e.p90_abs);
    }
    out += "\n";
  }
  return out;
}

std::string report_text(const LiveReport& r) {
  std::string out = fmt::format(" {} live run{} on {}: {}\n predicted: {} on {} ({})\n\n", r.runs.size(),
                                r.runs.size() == 1 ? "" : "s", r.device, fmt::join(r.runs, ", "),
                                r.predicted.info.model_id, r.predicted.info.gpu, r.predicted.info.engine);
  out += row_table(r) + step_table(r) + slice_table(r);
  out += fmt::format(
      "\n host: {:.3f} ms to plan and launch a step; device idle {:.3f} ms before a step; decode steps "
      "{:.3f} ms longer than on the device\n",
      r.overheads.host_ms, r.overheads.gap_ms, r.overheads.outside_device_ms);
  return out;
}

/// orrery-live beside this program. Errors: ConfigError (no_device) where it was not built.
std::string live_program() {
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  const fs::path program = self.parent_path() / "orrery-live";
  if (!failed && fs::exists(program, failed)) return program.string();
  throw ConfigError("orrery-live is not beside this program: it was built without CUDA",
                    "build with -DORRERY_CUDA=ON", ExitCode::no_device);
}

/// Its exit code; what it says goes to stderr.
int run_live_once(const std::string& program, const std::string& scenario, const std::string& out) {
  const std::vector<std::string> words = {program, "--scenario", scenario, "--out", out, "--quiet"};
  std::vector<char*> argv;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, 2, 1);
  pid_t child = 0;
  const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error != 0 || waitpid(child, &status, 0) < 0) throw ConfigError("cannot start " + program);
  return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::internal);
}

/// Runs the scenario `times` times; folders of the runs, or the exit code of the first that failed.
int run_scenario_live(const std::string& scenario, std::int64_t times, const std::string& into,
                      std::vector<std::string>& folders) {
  const std::string program = live_program();
  for (std::int64_t i = 1; i <= times; ++i) {
    folders.push_back(fmt::format("{}/{}-{}", into, fs::path(scenario).stem().string(), i));
    const int code = run_live_once(program, scenario, folders.back());
    if (code != 0 && code != static_cast<int>(ExitCode::slo_missed)) return code;
  }
  return 0;
}

std::string report_text(const std::vector<LiveReport>& reports) {
  std::string out;
  for (const auto& r : reports) out += (out.empty() ? "" : "\n") + report_text(r);
  return out;
}

void write_page(const std::string& path, const std::vector<LiveReport>& reports) {
  OutputFile file(path);
  file.write(
      "# Live runs and their predictions\n\nWritten by `orrery validate live`; docs/validation.md says what "
      "is in it.\n\n```\n");
  file.write(report_text(reports));
  file.write("```\n");
  file.close();
}

}  // namespace

int run_validate_live(const std::vector<std::string>& args) {
  std::vector<std::string> folders;
  std::string run, into = "runs/live", page;
  std::int64_t times = 2;
  Options options(
      "validate live",
      "Compares runs of the live engine with their simulation: each step, each request, the whole.");
  options
      .positionals("DIR", folders,
                   "run directories of orrery-live; those of one scenario are compared together")
      .group("live", "Live runs")
      .value("run", run, "FILE", "run this scenario now, with the orrery-live beside this program")
      .value("times", times, "N", "how often (default 2: the runs' own spread)")
      .value("into", into, "DIR", "where those runs are kept (default runs/live)")
      .value("out,o", page, "FILE", "write the tables as a page of Markdown too");
  ScenarioOptions scenario(options, {"model", "engine"});
  options.example("orrery validate live runs/live/open_mid-1 runs/live/open_mid-2")
      .example("orrery validate live --run traces/scenarios/live/open_mid.json --out docs/live-open-mid.md");
  if (!options.parse(args)) return 0;
  if (run.empty() == folders.empty()) {
    throw ConfigError("give either run directories or --run SCENARIO", {}, ExitCode::usage);
  }
  if (!run.empty()) {
    if (times < 1) throw ConfigError("--times must be at least 1", {}, ExitCode::usage);
    if (const int code = run_scenario_live(run, times, into, folders); code != 0) return code;
  }
  const auto reports = validate_live(folders, scenario.assignments("live"));
  bool met = true;
  OrderedJson json;
  json["reports"] = OrderedJson::array();
  for (const auto& report : reports) {
    print_notes(report.notes, options.output());
    print_warnings(report.warnings, options.output());
    met = met && report.met();
    json["reports"].push_back(to_json(report));
  }
  json["met"] = met;
  if (!page.empty()) write_page(page, reports);
  const std::string text = options.output().json
                               ? json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n"
                               : report_text(reports);
  std::fputs(text.c_str(), stdout);
  return static_cast<int>(met ? ExitCode::ok : ExitCode::slo_missed);
}

}  // namespace orrery
