#include <cstdio>
#include <fstream>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "cmd_calibrate.hpp"
#include "coverage_table.hpp"
#include "interrupt.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "run_output.hpp"
#include "scenario/coverage.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/value_forms.hpp"
#include "scenario_options.hpp"

namespace orrery {

namespace {

constexpr std::int64_t kShapesInFile = 100;

/// What the command line asks beyond the scenario.
struct CoverageQuestion {
  std::string file, out;
  std::optional<std::int64_t> shapes;
  std::optional<double> required;  ///< share of kernel time, measured or interpolated

  std::size_t wanted() const {
    return static_cast<std::size_t>(shapes.value_or(out.empty() ? 0 : kShapesInFile));
  }
};

/// "measured=0.9" or "measured=90%".
double parse_requirement(const std::string& text) {
  const auto equals = text.find('=');
  const std::string what = text.substr(0, equals);
  if (what != "measured") throw ConfigError("cannot require '" + what + "'", "measured=0.9");
  std::string number = equals == std::string::npos ? "" : text.substr(equals + 1);
  const bool percents = number.ends_with('%');
  if (percents) number.pop_back();
  const double share = parse_number(number) / (percents ? 100 : 1);
  if (!(share >= 0 && share <= 1))
    throw ConfigError("a share of time lies between 0 and 1, found '" + text + "'", "measured=0.9");
  return share;
}

void write_shapes(const std::string& path, const Coverage& coverage, const std::vector<ShapeCell>& shapes,
                  const std::string& about) {
  std::ofstream file(path);
  file << shapes_csv(coverage, shapes, about);
  file.close();
  if (!file) throw ConfigError("cannot write '" + path + "'", "check that the folder exists and has room");
}

/// "llama-3.1-8b bf16 on h100-sxm (tp 2), vllm@0.19.0".
std::string servers(const Deployment& d) {
  const int tp = d.lowering.shard.tp;
  return fmt::format("{} {} on {}{}, {}", d.model.name, name(d.lowering.precision.weight), d.device.name,
                     tp > 1 ? fmt::format(" (tp {})", tp) : "", d.engine.id());
}

void print(const Coverage& c, const CoverageQuestion& q, const std::vector<ShapeCell>& shapes,
           const Deployment& d, const RunResult& run, const OutputOptions& output) {
  RenderOptions how = render_options_for(STDOUT_FILENO);
  how.color = output.color_stdout();
  fmt::print("{}: {} requests in {} steps, kernels {} of their time\n\n{}", servers(d),
             grouped(run.simulation.completed), grouped(c.steps), percent(c.kernel_seconds / c.step_seconds),
             render(c, how));
  if (q.shapes) fmt::print("\n{}", render_shapes(c, shapes, how));
  if (!q.out.empty()) fmt::print("\nwrote {} shapes to {}\n", shapes.size(), q.out);
  if (q.required) {
    fmt::print("\n{}: {} of kernel time is measured or interpolated, {} required\n",
               c.calibrated_share() < *q.required ? "FAIL" : "PASS", percent(c.calibrated_share()),
               percent(*q.required));
  }
}

int answer(const CoverageQuestion& q, const Scenario& scenario, const OutputOptions& output) {
  const Deployment d = deploy(scenario);
  CoverageRecorder recorder(d.cluster.replicas.front().pricer);
  RunOptions options;
  options.progress = output.progress();
  options.stop = &catch_interrupt();
  options.observers = {&recorder};
  const RunResult run = run_deployed(d, scenario, options);
  const Coverage coverage = recorder.coverage();
  if (coverage.steps == 0) {
    throw ConfigError(fmt::format("the workload ran no step: none of its {} requests was served",
                                  grouped(run.simulation.requests)));
  }
  const auto shapes = coverage.wanted(q.wanted());
  if (!q.out.empty()) write_shapes(q.out, coverage, shapes, "wanted by " + servers(d));
  if (output.json) {
    OrderedJson json = {{"model", d.model.name}, {"gpu", d.device.name}, {"engine", d.engine.id()}};
    json.update(to_json(coverage, shapes));
    if (q.required) json["required_share"] = *q.required;
    std::printf("%s\n", json.dump(2).c_str());
  } else {
    print(coverage, q, shapes, d, run, output);
  }
  print_notes(run.notes, output);
  print_warnings(d.warnings, output);
  if (run.simulation.interrupted) return 130;
  const bool met = !q.required || coverage.calibrated_share() >= *q.required;
  return static_cast<int>(met ? ExitCode::ok : ExitCode::slo_missed);
}

}  // namespace

int calibrate_coverage(const std::vector<std::string>& args) {
  CoverageQuestion q;
  Options options("calibrate coverage",
                  "Which kernel shapes a model and its workload need, and which of them were measured.");
  options.positional("SCENARIO", q.file, "a scenario file (JSON); flags win over it", false);
  ScenarioOptions scenario(options);
  options.group("coverage", "Coverage")
      .value("shapes", q.shapes, "N", "list the N shapes most worth measuring")
      .value("out,o", q.out, "FILE", "write them as CSV for the collector (100 unless --shapes says)")
      .value(
          "require", [&](const std::string& v) { q.required = parse_requirement(v); }, "measured=SHARE",
          "exit 1 when less of the kernel time is measured or interpolated");
  options.example("orrery calibrate coverage -m llama-3.1-8b -g h100-sxm --trace builtin:conversation")
      .example(
          "orrery calibrate coverage -m qwen3-32b -g h200-sxm -tp 2 --trace builtin:code --shapes 40 "
          "--out wanted.csv");
  if (!options.parse(args)) return 0;
  const Scenario resolved = scenario.resolve(q.file);
  print_warnings(scenario.warnings(), options.output());
  return answer(q, resolved, options.output());
}

}  // namespace orrery
