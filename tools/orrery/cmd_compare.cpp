#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "command.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "scenario/compare.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {
namespace {

/// A file of a run directory. Errors: ConfigError for a folder that is none.
std::string file_of(const std::string& folder, const char* name) {
  std::string path = folder + "/" + name;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw ConfigError(
        folder + " is no whole run directory: it has no " + name,
        "runs write one with --out DIR; an interrupted one can be run again: orrery rerun " + folder);
  }
  return path;
}

OrderedJson summary_of(const std::string& folder) {
  return OrderedJson::parse(JsonDocument::load(file_of(folder, "summary.json"))->root().dump());
}

std::string change_text(const Change& c, const Style& style) {
  const std::string share = c.base != 0 ? fmt::format("{:+.1f} %", 100 * c.share() + 0.0) : "-";
  const std::string noise = c.noise > 0 ? fmt::format("{}{:.1f} %", style.plus_minus(), 100 * c.noise) : "-";
  const std::string pad(10 - std::min<std::size_t>(10, display_width(noise)), ' ');
  const std::string verdict = c.verdict();
  const std::string shown = verdict == "worse"    ? style.red(verdict)
                            : verdict == "better" ? style.green(verdict)
                                                  : style.dim(verdict);
  return fmt::format(" {:<20} {:>11} {:>11} {:>10} {}{}   {}\n", c.metric, brief(c.base), brief(c.now), share,
                     pad, noise, shown);
}

std::string render(const Comparison& c, int seeds, const RenderOptions& options) {
  const Style style(options);
  std::string out =
      style.dim(fmt::format(" {:<20} {:>11} {:>11} {:>10} {:>10}   verdict", "metric", "base", "new",
                            "change", seeds > 0 ? fmt::format("{} seeds", seeds) : "noise")) +
      "\n";
  for (const Change& change : c.changes) out += change_text(change, style);
  if (!c.differs.empty()) out += "\n" + style.row("settings", c.differs);
  for (const std::string& broken : c.broken) out += " " + style.red("FAIL") + "  " + broken + "\n";
  return out;
}

int run(const std::vector<std::string>& args) {
  std::string base, now, limits;
  std::int32_t seeds = 5;
  Options options("compare", "Compares two runs, and says what is more than noise.");
  options.positional("BASE", base, "a run directory")
      .positional("NEW", now, "another")
      .group("compare", "Compare")
      .value("fail-if", limits, "LIMITS",
             "exit 1 when a metric moves by more: p99_ttft_ms>+5%,output_throughput<-2%")
      .value("seeds", seeds, "N",
             "runs of each with other seeds, which say what noise is (default 5; 0 = none)");
  options.example("orrery compare runs/base runs/new --fail-if 'p99_ttft_ms>+5%,output_throughput<-2%'");
  if (!options.parse(args)) return 0;
  Comparison result = compare(summary_of(base), summary_of(now), parse_limits(limits));
  const Assignments before = read_manifest(file_of(base, "manifest.json"));
  const Assignments after = read_manifest(file_of(now, "manifest.json"));
  result.differs = setting_changes(before, after);
  if (seeds > 0) {
    const bool shown = options.output().progress();
    add_noise(result, resolve(before), resolve(after), seeds, [&](int done, int all) {
      if (shown) std::fprintf(stderr, "\r%d of %d runs%s", done, all, done == all ? "\r\033[K" : "");
    });
  }
  if (options.output().json) {
    std::fputs((to_json(result).dump(2) + "\n").c_str(), stdout);
  } else {
    RenderOptions how = render_options_for(STDOUT_FILENO);
    if (options.output().color != "auto") how.color = options.output().color == "always";
    std::fputs(render(result, seeds, how).c_str(), stdout);
  }
  return static_cast<int>(result.broken.empty() ? ExitCode::ok : ExitCode::slo_missed);
}

const Registration<Commands> registered{"compare", "compare two runs, and say what is more than noise", run};

}  // namespace
}  // namespace orrery
