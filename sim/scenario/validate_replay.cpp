#include "scenario/validate_replay.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/replay_slices.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"
#include "workload/request_list.hpp"

namespace orrery {

namespace {

/// What the file says about the scenario. Lengths and number only where it does not list the requests.
Assignments from_file(const MeasuredRun& run) {
  Assignments out;
  const auto set = [&](const char* name, const std::string& value) {
    out.push_back({name, value, run.path, run.path, 0});
  };
  const auto set_if = [&](const char* name, const auto& value) {
    if (value) set(name, fmt::format("{}", *value));
  };
  if (!run.model.empty()) set("model", run.model);
  set_if("max_concurrency", run.load.clients);
  if (!run.load.arrivals_recorded) {
    set_if("request_rate", run.load.request_rate);
    set_if("burstiness", run.load.burstiness);
  }
  if (run.requests.empty()) {
    const auto whole = [](double tokens) { return fmt::format("{}", std::max(1LL, std::llround(tokens))); };
    set("num_prompts", fmt::format("{}", run.load.prompts));
    set("random_input_len", whole(run.load.mean_prompt_tokens));
    set("random_output_len", whole(run.load.mean_output_tokens));
  }
  return out;
}

/// The servers of a run directory of Orrery, as its manifest has them.
Assignments from_manifest(const std::string& folder) {
  Assignments out = read_manifest(folder + "/manifest.json");
  std::erase_if(out, [](const Assignment& a) {
    const Setting* setting = find_setting(a.name);
    return !setting || (setting->group != "model" && setting->group != "engine");
  });
  return out;
}

/// A flag about the workload that the file's own requests would silently win over is an error.
void refuse_ignored(const Assignments& given, const MeasuredRun& run) {
  if (run.requests.empty()) return;
  for (const auto& a : given) {
    const Setting* setting = find_setting(a.name);
    if (!setting || (setting->group != "workload" && setting->group != "synthetic")) continue;
    const bool about_arrivals =
        a.name == "request_rate" || a.name == "burstiness" || a.name == "arrivals" || a.name == "stages";
    if (about_arrivals && !run.load.arrivals_recorded) continue;
    throw ConfigError(fmt::format("{} has no effect: the file lists its requests{}", a.name,
                                  about_arrivals ? " and when they arrived" : ""),
                      "leave it out, or simulate another workload with orrery run", ExitCode::usage);
  }
}

std::shared_ptr<const RequestList> request_list(const MeasuredRun& run) {
  auto list = std::make_shared<RequestList>();
  list->timed = run.load.arrivals_recorded;
  for (const auto& r : run.requests) {
    Request request;
    request.arrival = to_ps(Seconds(r.arrival_s));
    request.prompt_tokens = r.prompt_tokens;
    request.output_tokens = r.output_tokens;
    list->requests.push_back(std::move(request));
  }
  return list;
}

std::string describe_arrivals(const Scenario& s) {
  const auto& w = s.workload;
  std::string times;
  if (w.list && w.list->timed) {
    times = "at the recorded times";
  } else if (!w.trace.empty()) {
    times = "as in " + w.trace;
  } else if (std::isinf(w.request_rate) && w.arrivals.stages.empty()) {
    times = "all at once";
  } else {
    times = fmt::format("at random times, {:g} a second", w.request_rate);
  }
  if (w.max_concurrency > 0) times += fmt::format(", at most {} at a time", w.max_concurrency);
  return times;
}

std::vector<ReplayReport::Verdict> judge(const ReplayReport& report, const std::vector<ErrorLimit>& limits) {
  std::vector<ReplayReport::Verdict> out;
  for (const auto& limit : limits) {
    const auto row = std::find_if(report.rows.begin(), report.rows.end(),
                                  [&](const ReplayRow& r) { return r.key == limit.key; });
    if (row == report.rows.end()) {
      std::vector<std::string> there;
      for (const auto& r : report.rows) there.push_back(r.key);
      throw ConfigError(
          fmt::format("--max-error {}: the file has no {} to compare with", limit.text, limit.key),
          suggestion(limit.key, there))
          .at(report.measured.path);
    }
    out.push_back({limit, row->error(), std::abs(row->error()) <= limit.limit});
  }
  return out;
}

void note_differences(ReplayReport& report) {
  const auto asked = static_cast<std::int64_t>(report.measured.requests.size());
  const auto simulated = report.predicted.completed;
  if (asked > 0 && simulated < asked) {
    report.warnings.push_back(fmt::format(
        "{} of the {} measured requests did not complete in the simulation and are compared with nothing",
        asked - simulated, asked));
  }
}

}  // namespace

std::vector<ReplayRow> replay_rows(const MeasuredRun& run, const Summary& s) {
  std::vector<ReplayRow> rows;
  const auto add = [&](std::string key, const std::optional<double>& measured, double predicted,
                       const std::optional<Interval>& interval) {
    if (!measured || *measured <= 0 || !std::isfinite(predicted)) return;
    // To first order the throughput of an open loop is that of its arrivals: a range without width says
    // nothing.
    const bool has_width = interval && interval->high > interval->low;
    rows.push_back({std::move(key), *measured, predicted, has_width ? interval : std::nullopt});
  };
  add("request_throughput", run.request_throughput, s.request_throughput, s.request_throughput_interval);
  add("output_throughput", run.output_throughput, s.output_throughput, s.output_throughput_interval);
  for (int m = 0; m < kMetricCount; ++m) {
    const auto metric = static_cast<Metric>(m);
    const auto& real = run.latency[static_cast<std::size_t>(m)];
    const auto key = [&](const char* statistic) { return fmt::format("{}_{}_ms", statistic, name(metric)); };
    add(key("mean"), real.mean, s[metric].mean, s[metric].mean_interval);
    add(key("median"), real.median, s[metric].median, std::nullopt);
    add(key("p99"), real.p99, s[metric].at(99), s[metric].p99_interval);
  }
  return rows;
}

std::optional<bool> ReplayRow::inside() const {
  if (!interval) return std::nullopt;
  return measured >= interval->low && measured <= interval->high;
}

bool ReplayReport::met() const {
  return std::all_of(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.met; });
}

ReplayReport validate_replay(const std::string& path, const ReplayOptions& options) {
  ReplayReport report;
  std::error_code unreadable;  // then the reader says so
  const bool folder = std::filesystem::is_directory(path, unreadable);
  report.measured = read_measured_run(folder ? path + "/requests.csv" : path);
  const MeasuredRun& run = report.measured;
  refuse_ignored(options.scenario, run);
  Assignments all = from_file(run);
  if (folder) all = from_manifest(path);
  all.insert(all.end(), options.scenario.begin(), options.scenario.end());
  Scenario scenario = resolve(all);
  if (!run.requests.empty()) scenario.workload.list = request_list(run);
  report.arrivals = describe_arrivals(scenario);

  ReplayRecorder recorder(run.requests.size());
  RunOptions how;
  how.percentiles = {50, 99};
  how.resimulations = options.resimulations;
  how.observers = {&recorder};
  const RunResult result = run_scenario(scenario, how);
  report.predicted = result.summary;
  if (report.predicted.completed == 0) throw ConfigError("no request completed in the simulation").at(path);
  if (report.predicted.confidence) report.level = report.predicted.confidence->level;
  report.notes = run.notes;
  report.notes.insert(report.notes.end(), result.notes.begin(), result.notes.end());
  report.warnings = report.predicted.warnings;
  note_differences(report);

  report.rows = replay_rows(run, report.predicted);
  if (!run.requests.empty()) report.slices = replay_slices(run.requests, recorder.records());
  report.verdicts = judge(report, options.limits);
  return report;
}

}  // namespace orrery
