#include <algorithm>

#include "base/error.hpp"
#include "command.hpp"
#include "interrupt.hpp"
#include "options.hpp"
#include "run_output.hpp"
#include "scenario/value_forms.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// "12s..14s": either end may be left out.
void parse_window(const std::string& text, RunOptions& run) {
  const auto dots = text.find("..");
  if (dots == std::string::npos)
    throw ConfigError("expected a window such as 12s..14s, found '" + text + "'");
  const auto bound = [&](const std::string& word, Ps fallback) {
    return word.empty() ? fallback : to_ps(Seconds(parse_duration_s(word)));
  };
  run.window_start = bound(text.substr(0, dots), Ps(0));
  run.window_end = bound(text.substr(dots + 2), kNever);
  if (run.window_end <= run.window_start) throw ConfigError("the window '" + text + "' is empty");
}

void parse_percentiles(const std::string& text, RunOptions& run) {
  run.percentiles.clear();
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    const double p = parse_number(text.substr(start, end - start));
    if (p < 0 || p > 100) throw ConfigError("percentiles lie between 0 and 100, found '" + text + "'");
    run.percentiles.push_back(p);
    start = end + 1;
  }
  std::sort(run.percentiles.begin(), run.percentiles.end());
}

PercentileMethod parse_percentile_method(const std::string& text) {
  if (text == "linear") return PercentileMethod::linear;
  if (text == "nearest") return PercentileMethod::nearest;
  if (text == "mlperf") return PercentileMethod::mlperf;
  throw ConfigError("unknown percentile method '" + text + "'",
                    suggestion(text, {"linear", "nearest", "mlperf"}), ExitCode::usage);
}

int run(const std::vector<std::string>& args) {
  std::string file, out;
  RunOptions run;
  Options options("run",
                  "Replays requests through a simulated cluster and says what users would feel, and why.");
  options.positional("SCENARIO", file, "a scenario file (JSON); flags win over it", false);
  ScenarioOptions scenario(options);
  options.group("files", "Files")
      .value("out,o", out, "DIR", "run directory, or none (default: runs/<time>-<model>)")
      .value(
          "detail", [&](const std::string& v) { run.timeline = parse_timeline_detail(v); }, "off|runs|steps",
          "of timeline.pftrace (default runs)")
      .value(
          "window", [&](const std::string& v) { parse_window(v, run); }, "A..B",
          "part of the timeline: 12s..14s")
      .toggle(
          "report", [&](const std::string& v) { run.report = parse_boolean(v); },
          "write report.html, a page with all of it (default)")
      .value(
          "metric-percentiles", [&](const std::string& v) { parse_percentiles(v, run); }, "P,P,...",
          "default 50,90,99,99.9")
      .value(
          "percentile-method",
          [&](const std::string& v) { run.percentile_method = parse_percentile_method(v); },
          "linear|nearest|mlperf", "default linear, as numpy and vLLM bench")
      .value(
          "intervals", [&](const std::string& v) { run.resimulations = parse_intervals(v); },
          "first-order|resimulate",
          "error bars from shares of time (default), or from 24 runs with perturbed step times");
  options
      .example("orrery run -m llama-3.1-8b -g h100-sxm --trace builtin:conversation --slo 'ttft<=500ms@p99'")
      .example(
          "orrery run -m llama-3.1-70b -g h100-sxm -tp 4 --trace azure_conv.csv --target-rps 12 --replicas 2")
      .example(
          "orrery run -m qwen3-32b -g h200 -tp 2 --random-input-len 2k --random-output-len 512 "
          "--max-concurrency 64 --num-prompts 640")
      .example(
          "orrery run -g h100-sxm --engine-args 'vllm serve meta-llama/Llama-3.1-8B-Instruct "
          "--max-num-seqs 64' --trace builtin:code");
  if (!options.parse(args)) return 0;

  const Scenario resolved = scenario.resolve(file);
  print_warnings(scenario.warnings(), options.output());
  run.out = choose_directory(out, resolved.model);
  run.progress = options.output().progress();
  run.stop = &catch_interrupt();
  run.argv = {"orrery", "run"};
  run.argv.insert(run.argv.end(), args.begin(), args.end());
  const RunResult result = run_scenario(resolved, run);
  print_notes(result.notes, options.output());
  return print_result(result, options.output());
}

const Registration<Commands> registered{"run", "replay requests through a simulated cluster", run};

}  // namespace
}  // namespace orrery
