#include <cmath>
#include <cstdio>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cmd_validate.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "run_output.hpp"
#include "scenario/validate_replay.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// To one decimal, and never -0.0.
double tenths(double value) {
  return std::round(10 * value) / 10 + 0.0;
}

std::string signed_percent(double share) {
  return fmt::format("{:+.1f} %", tenths(100 * share));
}

/// "mean_ttft_ms" as "TTFT mean ms".
std::string row_label(const std::string& key) {
  if (key == "request_throughput") return "throughput req/s";
  if (key == "output_throughput") return "throughput tok/s";
  for (int m = 0; m < kMetricCount; ++m) {
    const auto metric = static_cast<Metric>(m);
    const auto at = key.find(fmt::format("_{}_ms", name(metric)));
    if (at != std::string::npos) return fmt::format("{:<5}{} ms", label(metric), key.substr(0, at));
  }
  return key;
}

std::string heading(const ReplayReport& r) {
  const auto& m = r.measured;
  const auto& p = r.predicted.info;
  return fmt::format(
      " measured   {}: {}\n"
      "            {} requests in {}, {:.0f} tokens in and {:.0f} out on average\n"
      " predicted  {} on {} ({}), {}; requests sent {}\n\n",
      m.path, m.kind, grouped(m.completed), duration_text(m.duration_s), m.load.mean_prompt_tokens,
      m.load.mean_output_tokens, p.model_id, p.gpu, p.parallelism, p.engine, r.arrivals);
}

std::string row_table(const ReplayReport& r) {
  std::string out = fmt::format(" {:<18}{:>11}{:>11}{:>10}  {:>19}  {}\n", "", "measured", "predicted",
                                "error", fmt::format("{:.0f} % interval", 100 * r.level), "measured is");
  for (const auto& row : r.rows) {
    std::string interval = "-", where;
    if (row.interval) {
      interval = brief(row.interval->low) + " to " + brief(row.interval->high);
      where = *row.inside() ? "inside" : row.measured < row.interval->low ? "below" : "above";
    }
    const auto line =
        fmt::format(" {:<18}{:>11}{:>11}{:>10}  {:>19}  {}", row_label(row.key), brief(row.measured),
                    brief(row.predicted), signed_percent(row.error()), interval, where);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string slice_row(const ReplaySlice& s) {
  std::string out = fmt::format(" {:<25}{:>6}", s.name, grouped(s.requests));
  for (const auto& e : s.errors) {
    out += e.pairs == 0 ? fmt::format("  {:>24}", "-")
                        : fmt::format("  {:>+8.1f}{:>8.1f}{:>8.1f}", tenths(100 * e.error_of_mean()),
                                      100 * e.median_abs, 100 * e.p90_abs);
  }
  return out + "\n";
}

/// The error of the mean has a sign and says where; the others say how far a single request is off.
std::string slice_table(const ReplayReport& r) {
  if (r.slices.empty()) return {};
  std::string out = fmt::format("\n {:<25}{:>6}", "errors by request, %", "n");
  for (const Metric m : kPairedMetrics)
    out += fmt::format("  {:>24}", fmt::format("{}: mean |med| |p90|", label(m)));
  out += "\n";
  for (const auto& slice : r.slices) out += slice_row(slice);
  return out;
}

std::string verdicts(const ReplayReport& r) {
  std::string out = r.verdicts.empty() ? "" : "\n";
  for (const auto& v : r.verdicts) {
    out += fmt::format(" {}  {:<24} {} is off by {}\n", v.met ? "ok    " : "MISSED", v.limit.text,
                       v.limit.key, signed_percent(v.error));
  }
  return out;
}

}  // namespace

int run_validate_replay(const std::vector<std::string>& args) {
  std::string path, seed;
  ReplayOptions replay;
  Options options("validate replay",
                  "Rebuilds a saved run of a real server, simulates it and says how far the prediction is "
                  "off, and where.");
  options.positional(
      "FILE", path,
      "a result of 'vllm bench serve --save-result' (better with --save-detailed), a CSV with arrival_s, "
      "input_tokens, output_tokens, ttft_ms, ... per request, or the folder of an Orrery run");
  options.group("replay", "Comparison")
      .value(
          "max-error", [&](const std::string& v) { replay.limits = parse_error_limits(v); }, "METRIC=X%,...",
          "exit 1 when a prediction is further off: tpot=5%,ttft@p99=20%,throughput=3% (mean unless @median, "
          "@p99)")
      .value(
          "intervals", [&](const std::string& v) { replay.resimulations = parse_intervals(v); },
          "first-order|resimulate", "error bars from shares of time (default), or from 24 perturbed runs")
      .value("seed", seed, "N", "of the arrivals and lengths that the file does not record (default 0)");
  ScenarioOptions scenario(options, {"model", "engine", "workload", "synthetic", "clients"});
  options.example("orrery validate replay result.json -g h100-sxm --max-num-seqs 128")
      .example("orrery validate replay requests.csv -m llama-3.1-8b -g h100-sxm --max-error tpot=5%,ttft=10%")
      .example("orrery validate replay runs/20260101-120000-llama-3.1-8b -g h200-sxm --json");
  if (!options.parse(args)) return 0;

  replay.scenario = scenario.assignments(scenario.resolve().engine);
  if (!seed.empty()) replay.scenario.push_back({"seed", seed, "flag", "", 0});
  print_warnings(scenario.warnings(), options.output());
  const ReplayReport report = validate_replay(path, replay);
  print_notes(report.notes, options.output());
  print_warnings(report.warnings, options.output());
  if (options.output().json) {
    std::fputs((to_json(report).dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n").c_str(),
               stdout);
  } else {
    const std::string slices = options.output().quiet ? "" : slice_table(report);
    std::fputs((heading(report) + row_table(report) + slices + verdicts(report)).c_str(), stdout);
  }
  return static_cast<int>(report.met() ? ExitCode::ok : ExitCode::slo_missed);
}

}  // namespace orrery
