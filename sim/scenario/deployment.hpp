#pragma once

#include <string>
#include <vector>

#include "cost/capacity.hpp"
#include "des/simulation.hpp"
#include "scenario/engine_profile.hpp"
#include "scenario/offloading.hpp"
#include "scenario/scenario.hpp"
#include "scenario/speculation.hpp"

namespace orrery {

/// A scenario's servers with everything decided: what an engine would print when it starts.
struct Deployment {
  ModelSpec model;
  DeviceProfile device;
  Topology topology;
  EngineProfile engine;
  EngineSettings settings;  ///< the engine's defaults, changed by the scenario, each with its origin
  Tokens max_model_len = 0;
  LoweringContext lowering;
  Speculation speculation;  ///< plain decoding without it
  Offload offload;          ///< nothing is without it
  KvCapacity kv;
  KernelCostModelPtr cost;
  ClusterConfig cluster;              ///< ready for simulate(); replicas share one pricer
  std::vector<std::string> warnings;  ///< what the prediction leaves out or assumes

  StepPricer& pricer() const { return *cluster.replicas.front().pricer; }
  int replicas() const { return static_cast<int>(cluster.replicas.size()); }
};

/// Loads what the scenario names, applies its arguments over the engine's defaults and checks them as the
/// engine would. Errors: ConfigError, with exit code `infeasible` when the model does not fit.
Deployment deploy(const Scenario& scenario);

/// The scenario's workload as the model sees it: images become tokens. Errors: ConfigError for images that
/// the model has no encoder for.
WorkloadSpec workload_for(const Scenario& scenario, const Deployment& deployment);

/// One value of the resolved configuration.
struct ResolvedValue {
  std::string name, section;
  Json value;
  std::string origin;  ///< "default", "engine default vllm@0.15.1 (...)", "scenario.json:12", "flag", ...
};
/// Every setting with its value in force. Without a deployment, engine defaults that are not set are null.
std::vector<ResolvedValue> resolved_values(const Scenario& scenario, const Deployment* deployment);

}  // namespace orrery
