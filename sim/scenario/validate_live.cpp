#include "scenario/validate_live.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/measured.hpp"
#include "hw/device_profile.hpp"
#include "scenario/replay_slices.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {
namespace {

// How near a prediction should come on the machine it was calibrated on.
constexpr double kAimThroughput = 0.03, kAimTpot = 0.03, kAimTtft = 0.05, kAimTail = 0.10;

std::optional<double> aim_of(const std::string& key) {
  if (key == "request_throughput" || key == "output_throughput") return kAimThroughput;
  if (key == "mean_tpot_ms") return kAimTpot;
  if (key == "mean_ttft_ms") return kAimTtft;
  if (key.rfind("p99_", 0) == 0) return kAimTail;
  return std::nullopt;
}

struct LiveRun {
  std::string folder, device;
  Assignments scenario;
  MeasuredRun whole;  ///< summary.json: counted by the same code as the prediction
  MeasuredRun requests;
  std::vector<MeasuredStep> steps;
};

std::string device_of(const std::string& manifest) {
  const auto doc = JsonDocument::load(manifest);
  const Json& root = doc->root();
  const auto live = root.is_object() ? root.find("live") : root.end();
  if (live == root.end() || !live->is_object()) {
    throw ConfigError("this run was simulated, not served by orrery-live",
                      "compare it with orrery validate replay")
        .at(manifest);
  }
  return live->value("device", "an unnamed device");
}

LiveRun read_run(const std::string& folder) {
  LiveRun run;
  run.folder = folder;
  const std::string manifest = folder + "/manifest.json";
  run.scenario = read_manifest(manifest);
  run.device = device_of(manifest);
  run.whole = read_measured_run(folder + "/summary.json");
  run.requests = read_measured_run(folder + "/requests.csv");
  run.steps = read_live_steps(folder + "/steps.csv");
  if (run.steps.empty()) throw ConfigError("no step was run").at(folder + "/steps.csv");
  return run;
}

bool same_scenario(const LiveRun& a, const LiveRun& b) {
  const auto same = [](const Assignment& x, const Assignment& y) {
    return x.name == y.name && x.value == y.value;
  };
  return std::equal(a.scenario.begin(), a.scenario.end(), b.scenario.begin(), b.scenario.end(), same);
}

/// The runs' numbers side by side with the prediction; those that every run has.
std::vector<LiveRow> combine(const std::vector<LiveRun>& runs, const Summary& predicted) {
  std::vector<std::vector<ReplayRow>> of_run;
  for (const auto& run : runs) of_run.push_back(replay_rows(run.whole, predicted));
  std::vector<LiveRow> out;
  for (const auto& row : of_run.front()) {
    double sum = 0, low = row.measured, high = row.measured;
    std::size_t found = 0;
    for (const auto& rows : of_run) {
      const auto it = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.key == row.key; });
      if (it == rows.end()) continue;
      sum += it->measured, low = std::min(low, it->measured), high = std::max(high, it->measured), ++found;
    }
    if (found != runs.size()) continue;
    LiveRow live{row, 0, aim_of(row.key)};
    live.row.measured = sum / static_cast<double>(found);
    live.spread = (high - low) / 2 / live.row.measured;
    out.push_back(std::move(live));
  }
  return out;
}

MeasuredOverheads overheads_of(const std::vector<std::vector<MeasuredStep>>& runs) {
  MeasuredOverheads o;
  double steps = 0, gaps = 0, pure = 0;
  for (const auto& run : runs) {
    for (const auto& s : run) {
      o.host_ms += 1000 * s.host_s, ++steps;
      if (s.gap_s > 0) o.gap_ms += 1000 * s.gap_s, ++gaps;
      if (s.chunks.empty() && s.device_s > 0)
        o.outside_device_ms += 1000 * (s.duration_s - s.device_s), ++pure;
    }
  }
  o.host_ms /= std::max(1.0, steps), o.gap_ms /= std::max(1.0, gaps);
  o.outside_device_ms /= std::max(1.0, pure);
  return o;
}

/// Requests of all runs, each with what the simulation says of it. A failed request would shift the ids.
std::vector<ReplaySlice> slices_of(const std::vector<LiveRun>& runs, const ReplayRecorder& recorder,
                                   LiveReport& report) {
  std::vector<MeasuredRequest> measured;
  std::vector<std::optional<RequestRecord>> predicted;
  for (const auto& run : runs) {
    if (run.requests.failed > 0 || run.requests.requests.size() != recorder.records().size()) {
      report.warnings.push_back(
          fmt::format("{}: not every request completed; none is compared one by one", run.folder));
      return {};
    }
    measured.insert(measured.end(), run.requests.requests.begin(), run.requests.requests.end());
    predicted.insert(predicted.end(), recorder.records().begin(), recorder.records().end());
  }
  return replay_slices(measured, predicted);
}

/// The live engine runs our kernels: where its GPU was measured, they are priced as timed, without the
/// factors that make them other engines'.
Scenario simulated_as(const Assignments& assignments) {
  Scenario scenario = resolve(assignments);
  if (scenario.cost_model == "auto" && has_measured_rows(load_device(scenario.gpu).folder + "/measured")) {
    scenario.cost_model = "measured-raw";
  }
  return scenario;
}

LiveReport validate(const std::vector<LiveRun>& runs, const Assignments& overrides) {
  LiveReport report;
  std::vector<std::vector<MeasuredStep>> steps;
  for (const auto& run : runs) {
    report.runs.push_back(run.folder);
    steps.push_back(run.steps);
  }
  report.device = runs.front().device;
  Assignments all = runs.front().scenario;
  all.insert(all.end(), overrides.begin(), overrides.end());
  const Scenario scenario = simulated_as(all);
  const Deployment deployment = deploy(scenario);
  ReplayRecorder recorder(runs.front().requests.requests.size());
  RunOptions how;
  how.percentiles = {50, 99};
  how.observers = {&recorder};
  const RunResult result = run_deployed(deployment, scenario, how);
  report.predicted = result.summary;
  report.notes = result.notes;
  report.warnings = report.predicted.warnings;
  if (report.predicted.completed == 0) {
    throw ConfigError("no request completed in the simulation").at(runs.front().folder);
  }
  report.rows = combine(runs, report.predicted);
  report.steps = group_steps(steps, deployment.pricer());
  report.slices = slices_of(runs, recorder, report);
  report.overheads = overheads_of(steps);
  return report;
}

}  // namespace

bool LiveReport::met() const {
  return std::all_of(rows.begin(), rows.end(), [](const LiveRow& r) { return r.met(); });
}

std::vector<LiveReport> validate_live(const std::vector<std::string>& folders, const Assignments& overrides) {
  std::vector<std::vector<LiveRun>> scenarios;
  for (const auto& folder : folders) {
    LiveRun run = read_run(folder);
    const auto it = std::find_if(scenarios.begin(), scenarios.end(),
                                 [&](const auto& runs) { return same_scenario(runs.front(), run); });
    auto& runs = it == scenarios.end() ? scenarios.emplace_back() : *it;
    runs.push_back(std::move(run));
  }
  std::vector<LiveReport> reports;
  for (const auto& runs : scenarios) reports.push_back(validate(runs, overrides));
  return reports;
}

}  // namespace orrery
