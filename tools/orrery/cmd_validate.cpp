#include "cmd_validate.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "options.hpp"
#include "scenario/validate_bench.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

std::string short_model(const std::string& model) {
  return model.substr(model.find_last_of('/') + 1);
}

std::string compared(const std::optional<double>& measured, double predicted, bool trusted) {
  if (!measured) return fmt::format("{:>9.2f}{:>9}{:>8}", predicted, "-", "-");
  const double error = *measured > 0 ? 100 * (predicted / *measured - 1) : 0;
  return fmt::format("{:>9.2f}{:>9.2f}{:>+7.1f}{}", predicted, *measured, error, trusted ? ' ' : '~');
}

std::string row_table(const BenchReport& report) {
  std::string out = fmt::format(" {:>4} {:<9} {:<26}{:<5}{:<7}{:>3}{:>13}{:>5} {:>25}  {:>25}\n", "line",
                                "hardware", "model", "prec", "engine", "tp", "in/out", "conc",
                                "TTFT ms sim, real, err %", "TPOT ms sim, real, err %");
  bool untrusted = false;
  for (std::size_t i = 0; i < report.table.rows.size(); ++i) {
    const auto& row = report.table.rows[i];
    const auto& p = report.predictions[i];
    if (!p) continue;
    const auto at = [&](const char* column) { return report.table.at(row, column); };
    untrusted = untrusted || !row.trust_ttft || !row.trust_tpot;
    out += fmt::format(" {:>4} {:<9} {:<26.25}{:<5}{:<7}{:>3}{:>13}{:>5} {}  {}\n", row.line, at("hardware"),
                       short_model(at("model")), at("precision"), at("framework"), at("tp"),
                       at("isl_max") + "/" + at("osl_max"), at("concurrency"),
                       compared(row.ttft_ms, p->ttft_ms, row.trust_ttft),
                       compared(row.tpot_ms, p->tpot_ms, row.trust_tpot));
  }
  if (untrusted)
    out += " ~ the table's `use` column says not to trust this measurement; it is left out below\n";
  return out;
}

std::string stats_text(const ErrorStats& e) {
  if (e.rows == 0) return fmt::format("{:>5}{:>25}", "-", "");
  return fmt::format("{:>5}{:>8.1f}{:>8.1f}{:>+9.1f}", e.rows, 100 * e.median_abs, 100 * e.p90_abs,
                     100 * e.bias);
}

std::string group_table(const BenchReport& report) {
  std::string out =
      fmt::format("\n {:<9} {:<26}{:<5}{:<7}{:>5}{:>8}  {}  {}\n", "hardware", "model", "prec", "engine",
                  "rows", "skipped", "TTFT: rows, median, p90, bias %", "TPOT: rows, median, p90, bias %");
  for (const auto& g : report.groups) {
    out += fmt::format(" {:<9} {:<26.25}{:<5}{:<7}{:>5}{:>8}   {}   {}\n", g.hardware, short_model(g.model),
                       g.precision, g.framework, g.rows, g.skipped, stats_text(g.ttft), stats_text(g.tpot));
  }
  return out;
}

std::string skipped_table(const BenchReport& report) {
  std::map<std::string, std::vector<long>> reasons;
  std::size_t all = 0;
  for (const auto& row : report.table.rows) {
    if (row.skipped.empty()) continue;
    reasons[row.skipped].push_back(row.line);
    ++all;
  }
  if (all == 0) return {};
  std::string out = fmt::format("\n skipped {} of {} rows:\n", all, report.table.rows.size());
  for (const auto& [reason, lines] : reasons) {
    std::string listed;
    for (std::size_t i = 0; i < lines.size() && i < 4; ++i)
      listed += fmt::format("{}{}", i ? ", " : "", lines[i]);
    out += fmt::format("  {:>4}  {} (line{} {}{})\n", lines.size(), reason, lines.size() > 1 ? "s" : "",
                       listed, lines.size() > 4 ? ", ..." : "");
  }
  return out;
}

int run_bench(const std::vector<std::string>& args) {
  std::string path;
  BenchOptions bench;
  bench.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  Options options("validate bench", "Simulates each row of a table of measured servers and compares.");
  options.positional("TABLE", path, "CSV: hardware, model, isl_max, osl_max, concurrency, mean_ttft_ms, ...")
      .group("bench", "Table")
      .value(
          "where",
          [&](const std::string& v) {
            const auto equals = v.find('=');
            if (equals == std::string::npos) throw ConfigError("expected COLUMN=VALUE, found '" + v + "'");
            bench.where.emplace_back(v.substr(0, equals), v.substr(equals + 1));
          },
          "COL=VALUE", "only rows with this value; may be repeated")
      .value("threads", bench.threads, "N", "rows simulated at once (default: all cores)");
  ScenarioOptions scenario(options, {"model", "engine"});
  options.example("orrery validate bench closed_loop.csv --where framework=vllm");
  if (!options.parse(args)) return 0;
  bench.overrides = scenario.assignments();
  if (options.output().progress()) {
    bench.progress = [](std::size_t done, std::size_t all) {
      std::fprintf(stderr, "\r%zu of %zu rows%s", done, all, done == all ? "\r\033[K" : "");
    };
  }
  const BenchReport report = validate_bench(path, bench);
  if (options.output().json) {
    std::fputs((to_json(report).dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n").c_str(),
               stdout);
    return 0;
  }
  const std::string rows = options.output().quiet ? "" : row_table(report);
  std::fputs((rows + group_table(report) + skipped_table(report)).c_str(), stdout);
  return 0;
}

int run(const std::vector<std::string>& args) {
  return dispatch(
      "validate", "Compares predictions with what real servers were measured to do.",
      {{"bench", "a table of measured servers, one per row", run_bench},
       {"replay", "a saved run: vllm bench serve's result, or a log of requests", run_validate_replay},
       {"live", "runs of the live engine (orrery-live) on this machine's GPU", run_validate_live},
       {"fabric", "prices of collectives, against their messages on shared links", run_validate_fabric},
       {"papers", "what papers report of systems, against their scenarios simulated", run_validate_papers}},
      args);
}

const Registration<Commands> registered{"validate", "compare predictions with measured servers", run};

}  // namespace
}  // namespace orrery
