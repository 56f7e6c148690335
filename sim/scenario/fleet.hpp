#pragma once

#include <string>
#include <vector>

#include "scenario/deployment.hpp"

namespace orrery {

/// What fails and for how long: "replica=1@60s+30s,gpu=3@100s+5s,node=0@2h+10m".
struct NamedOutage {
  std::string what;  ///< "replica", "gpu" or "node"
  int index = 0;
  double start_s = 0, repair_s = 0;
};
/// Errors: ConfigError with the form that is expected.
std::vector<NamedOutage> parse_outages(const std::string& text);

/// Who stops and when: "2@50s,3@1m".
std::vector<Drain> parse_drains(const std::string& text);

/// "min=1,max=8,signal=queue,target=4,interval=15s,cooldown=5m". Errors: ConfigError.
AutoscaleParams parse_autoscale(const std::string& text);

/// Whether replicas come and go in a scenario.
bool has_fleet(const Scenario& scenario);

/// Makes a deployment's replicas come and go as the scenario says: with autoscaling there are as many as its
/// most. A GPU that fails takes its replica with it, a node all that lie on it. Errors: ConfigError for one
/// that is not there.
void deploy_fleet(const Scenario& scenario, Deployment& deployment);

}  // namespace orrery
