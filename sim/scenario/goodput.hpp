#pragma once

#include "scenario/deployment.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// The highest rate, within 2%, at which at least `share` of a scenario's requests meet its latency
/// thresholds (DistServe's goodput: Zhong et al., OSDI 2024); 0 when not even one request in four seconds is
/// served so. Requests come at random times, whatever rate the scenario names. Errors: ConfigError for a
/// scenario without thresholds.
struct Goodput {
  double rate = 0;  ///< requests per second, the whole cluster
  int gpus = 0;
  double per_gpu() const { return rate / gpus; }
};
Goodput find_goodput(const Scenario& scenario, double share = 0.9);

}  // namespace orrery
