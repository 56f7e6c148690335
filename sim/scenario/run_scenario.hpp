#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/fleet_log.hpp"
#include "report/migrations.hpp"
#include "report/run_directory.hpp"
#include "report/summary.hpp"
#include "report/writers.hpp"
#include "scenario/deployment.hpp"
#include "scenario/kv_offloading.hpp"
#include "scenario/mixed_replicas.hpp"
#include "scenario/pools.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// What a run writes and whom it tells; none of it changes a prediction.
struct RunOptions {
  std::string out;  ///< run directory; "" = write nothing
  bool requests_csv = true, timeseries_csv = true;
  bool report = true;  ///< report.html, and details.json of what it shows
  TimelineDetail timeline = TimelineDetail::runs;
  Ps window_start{0}, window_end = kNever;  ///< of the timeline
  std::vector<double> percentiles = {50, 90, 99, 99.9};
  PercentileMethod percentile_method = PercentileMethod::linear;
  int resimulations = 0;  ///< perturbed runs behind the intervals; 0 = first order in the shares of time
  bool progress = false;  ///< a bar on stderr when the run takes over a second
  const std::atomic<bool>* stop = nullptr;  ///< ends the run early; what was simulated is reported
  std::vector<std::string> argv;            ///< for the manifest
  std::vector<Observer*> observers;         ///< further ones
  /// What replays the requests, with simulate()'s contract: an engine that really runs them. Its results are
  /// measured: they get no error bars and no headroom. Empty = simulate().
  std::function<SimulationResult(const ClusterConfig&, RequestSource&, std::span<Observer* const>)> engine;
  std::map<std::string, std::string> platform;  ///< of such an engine, for the manifest: device, driver, ...
};

struct RunResult {
  Summary summary;
  SimulationResult simulation;
  std::optional<double> saturation_rps;  ///< near which the servers saturate, for the requests that were run
  Speculation speculation;
  Offload offload;
  std::optional<PoolsReport> pools;            ///< of replicas that prefill and replicas that decode
  std::optional<OffloadingReport> offloading;  ///< of KV blocks to tiers below the GPUs' memory
  std::vector<DeviceReport> devices;           ///< of replicas of several devices
  std::optional<FleetSummary> fleet;           ///< of replicas that come and go
  std::optional<MigrationSummary> migrations;  ///< where sequences may change replicas
  double draft_share = 0;                      ///< of the engines' time, that of draft models
  std::vector<std::string> notes;              ///< what the readers said of their input
  std::string directory;                       ///< what was written; "" = nothing
  double wall_s = 0;
};

/// Answers a scenario: builds its servers, replays its workload and measures. The same scenario and seed give
/// the same result, and the same files but for host and wall time in manifest.json.
/// Errors: ConfigError (a wrong scenario, a model that does not fit, a folder that cannot be written: found
/// before the simulation starts).
RunResult run_scenario(const Scenario& scenario, const RunOptions& options = {});

/// The same on servers that deploy() has made of this scenario, or of one that differs in its workload, SLO,
/// warm-up or seed only: many workloads share the pricer's tables. Not from two threads at once.
RunResult run_deployed(const Deployment& deployment, const Scenario& scenario,
                       const RunOptions& options = {});

/// The summary as JSON: vLLM's keys, ours under "orrery" (saturation rate included).
OrderedJson to_json(const RunResult& result);

/// The scenario that a manifest.json describes: the values its user had set. Errors: ConfigError.
Assignments read_manifest(const std::string& path);

}  // namespace orrery
