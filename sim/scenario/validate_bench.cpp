#include "scenario/validate_bench.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "base/quantile.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"

namespace orrery {

namespace {

/// Rows that run on the same servers: one deployment, whose price tables they share.
struct Job {
  std::vector<std::size_t> rows;
};

/// The settings of a row that decide its servers (not its workload), as a key.
std::string server_key(const Scenario& s) {
  std::string key;
  for (const auto& setting : settings()) {
    if (setting.section == "workload" || setting.group == "run") continue;
    key += setting.get(s).dump() + "|";
  }
  return key;
}

std::vector<Job> group_by_server(const std::vector<Scenario>& scenarios, const BenchTable& table) {
  std::map<std::string, std::size_t> index;
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    if (!table.rows[i].skipped.empty()) continue;
    const auto [it, fresh] = index.try_emplace(server_key(scenarios[i]), jobs.size());
    if (fresh) jobs.emplace_back();
    jobs[it->second].rows.push_back(i);
  }
  return jobs;
}

BenchPrediction predict(const Deployment& d, const Scenario& s) {
  RunOptions options;
  options.percentiles = {99};
  const RunResult r = run_deployed(d, s, options);
  if (r.summary.completed == 0) throw ConfigError("no request completed");
  const auto& ttft = r.summary[Metric::ttft];
  const auto& tpot = r.summary[Metric::tpot];
  return {ttft.mean, tpot.mean, ttft.mean_interval, tpot.mean_interval};
}

void run_job(const Job& job, const std::vector<Scenario>& scenarios, BenchReport& report) {
  std::optional<Deployment> deployment;
  std::string failure;
  try {
    deployment = deploy(scenarios[job.rows.front()]);
  } catch (const ConfigError& e) {
    failure = e.what();
  }
  for (const std::size_t i : job.rows) {
    try {
      if (deployment) report.predictions[i] = predict(*deployment, scenarios[i]);
    } catch (const ConfigError& e) {
      failure = e.what();
    }
    if (!report.predictions[i]) report.table.rows[i].skipped = failure;
  }
}

void run_jobs(const std::vector<Job>& jobs, const std::vector<Scenario>& scenarios,
              const BenchOptions& options, BenchReport& report) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t done = 0, all = 0;
  std::exception_ptr bug;
  for (const auto& j : jobs) all += j.rows.size();
  const auto work = [&] {
    for (std::size_t j = next++; j < jobs.size(); j = next++) {
      try {
        run_job(jobs[j], scenarios, report);
      } catch (...) {
        const std::lock_guard lock(mutex);
        bug = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      done += jobs[j].rows.size();
      if (options.progress) options.progress(done, all);
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 1; t < options.threads; ++t) threads.emplace_back(work);
  work();
  threads.clear();
  if (bug) std::rethrow_exception(bug);
}

ErrorStats error_stats(const std::vector<double>& errors) {
  ErrorStats e;
  e.rows = static_cast<std::int64_t>(errors.size());
  std::vector<double> sizes;
  for (const double x : errors) {
    e.bias += x / static_cast<double>(errors.size());
    sizes.push_back(std::abs(x));
  }
  std::sort(sizes.begin(), sizes.end());
  e.median_abs = quantile_sorted(sizes, 0.5);
  e.p90_abs = quantile_sorted(sizes, 0.9);
  return e;
}

void summarise(BenchReport& report) {
  std::map<std::string, std::size_t> index;
  std::vector<std::pair<std::vector<double>, std::vector<double>>> errors;
  for (std::size_t i = 0; i < report.table.rows.size(); ++i) {
    const auto& row = report.table.rows[i];
    const auto at = [&](const char* column) { return report.table.at(row, column); };
    const std::string key =
        fmt::format("{}|{}|{}|{}", at("hardware"), at("model"), at("precision"), at("framework"));
    const auto [it, fresh] = index.try_emplace(key, report.groups.size());
    if (fresh) {
      report.groups.push_back({at("hardware"), at("model"), at("precision"), at("framework"), 0, 0, {}, {}});
      errors.emplace_back();
    }
    auto& group = report.groups[it->second];
    auto& [ttft, tpot] = errors[it->second];
    ++group.rows;
    if (!row.skipped.empty()) ++group.skipped;
    const auto& p = report.predictions[i];
    if (p && row.trust_ttft && row.ttft_ms.value_or(0) > 0) ttft.push_back(p->ttft_ms / *row.ttft_ms - 1);
    if (p && row.trust_tpot && row.tpot_ms.value_or(0) > 0) tpot.push_back(p->tpot_ms / *row.tpot_ms - 1);
  }
  for (std::size_t g = 0; g < report.groups.size(); ++g) {
    report.groups[g].ttft = error_stats(errors[g].first);
    report.groups[g].tpot = error_stats(errors[g].second);
  }
}

}  // namespace

BenchReport validate_bench(const std::string& path, const BenchOptions& options) {
  BenchReport report;
  report.table = read_bench_table(path);
  auto& rows = report.table.rows;
  for (const auto& filter : options.where) {
    const auto& column = filter.first;
    const auto& value = filter.second;  // by name: clang 14 captures no structured bindings
    const auto& columns = report.table.columns;
    if (std::find(columns.begin(), columns.end(), column) == columns.end()) {
      throw ConfigError("the table has no column '" + column + "'", suggestion(column, columns),
                        ExitCode::usage);
    }
    std::erase_if(rows, [&](const BenchRow& row) { return report.table.at(row, column) != value; });
  }
  report.predictions.resize(rows.size());
  std::vector<Scenario> scenarios(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].skipped.empty()) continue;
    Assignments all = rows[i].assignments;
    all.insert(all.end(), options.overrides.begin(), options.overrides.end());
    try {
      scenarios[i] = resolve(all);
    } catch (const ConfigError& e) {
      rows[i].skipped = e.what();
    }
  }
  run_jobs(group_by_server(scenarios, report.table), scenarios, options, report);
  summarise(report);
  return report;
}

namespace {

/// Numbers as numbers, blanks as null, the rest as text.
OrderedJson cell(const std::string& text) {
  if (text.empty()) return nullptr;
  const Json value = Json::parse(text, nullptr, false);
  return value.is_number() ? OrderedJson(value) : OrderedJson(text);
}

OrderedJson range(const std::optional<Interval>& interval) {
  if (!interval) return nullptr;
  return OrderedJson::array({interval->low, interval->high});
}

OrderedJson number_or_null(const std::optional<double>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

OrderedJson stats_json(const ErrorStats& e) {
  OrderedJson json;
  json["rows"] = e.rows;
  const auto put = [&](const char* key, double value) {
    json[key] = e.rows > 0 ? OrderedJson(value) : OrderedJson();
  };
  put("median_abs_error", e.median_abs);
  put("p90_abs_error", e.p90_abs);
  put("bias", e.bias);
  return json;
}

OrderedJson row_json(const BenchReport& report, std::size_t i) {
  const auto& row = report.table.rows[i];
  OrderedJson json;
  for (std::size_t c = 0; c < row.text.size(); ++c) json[report.table.columns[c]] = cell(row.text[c]);
  json["line"] = row.line;
  json["measured"] = {{"mean_ttft_ms", number_or_null(row.ttft_ms)},
                      {"mean_tpot_ms", number_or_null(row.tpot_ms)}};
  if (const auto& p = report.predictions[i]) {
    json["predicted"] = {{"mean_ttft_ms", p->ttft_ms}, {"mean_tpot_ms", p->tpot_ms}};
    json["interval"] = {{"mean_ttft_ms", range(p->ttft_interval)}, {"mean_tpot_ms", range(p->tpot_interval)}};
  } else {
    json["skipped"] = row.skipped;
  }
  return json;
}

}  // namespace

OrderedJson to_json(const BenchReport& report) {
  OrderedJson json;
  json["rows"] = OrderedJson::array();
  for (std::size_t i = 0; i < report.table.rows.size(); ++i) json["rows"].push_back(row_json(report, i));
  json["summary"] = OrderedJson::array();
  for (const auto& g : report.groups) {
    json["summary"].push_back({{"hardware", g.hardware},
                               {"model", g.model},
                               {"precision", g.precision},
                               {"framework", g.framework},
                               {"rows", g.rows},
                               {"skipped", g.skipped},
                               {"mean_ttft_ms", stats_json(g.ttft)},
                               {"mean_tpot_ms", stats_json(g.tpot)}});
  }
  return json;
}

}  // namespace orrery
