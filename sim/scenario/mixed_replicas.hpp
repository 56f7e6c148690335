#pragma once

#include <string>
#include <vector>

#include "report/replica_totals.hpp"
#include "scenario/deployment.hpp"

namespace orrery {

/// Replicas of one device and split among others behind one router.
struct MixedReplicas {
  std::string gpu;
  std::int32_t tensor_parallel_size = 0;  ///< 0 = the scenario's
  std::int32_t replicas = 1;
  std::optional<double> usd_per_gpu_hour;  ///< unset = the scenario's, or the device's
};

/// Whether a scenario's replicas are of several devices, behind one router.
inline bool has_mixed_replicas(const Scenario& scenario) {
  return !scenario.pools.mixed_replicas.empty();
}

/// `h100-sxm=2@2.5,l40s/4=3`: device, GPUs that share its layers, replicas and dollars per GPU and hour.
/// Errors: ConfigError.
std::vector<MixedReplicas> parse_mixed_replicas(const std::string& text);

/// deploy() of a scenario with `mixed_replicas`: each kind as it would be by itself, with its own prices and
/// memory. The result's model, device and settings are the first kind's. Errors: ConfigError.
Deployment deploy_mixed(const Scenario& scenario);

/// What cost_aware wants to know of a replica: seconds that a token takes in a full prompt's step and in a
/// decode batch of 32 sequences of 1,024 tokens. Errors: none.
ServingRate serving_rate(StepPricer& pricer, double usd_per_gpu_hour);

/// What a run says of replicas of different devices, in the order they were given.
struct DeviceReport {
  std::string gpu, parallelism;
  int replicas = 0, gpus = 0;
  double utilisation = 0;  ///< share of the run in which they were stepping
  ReplicaTotals totals;
  std::optional<double> usd_per_hour;  ///< of all of them
};
std::vector<DeviceReport> device_reports(const Deployment& deployment, const SimulationResult& result,
                                         const std::vector<ReplicaTotals>& replicas);
OrderedJson to_json(const std::vector<DeviceReport>& reports);

}  // namespace orrery
