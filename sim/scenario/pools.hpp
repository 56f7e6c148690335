#pragma once

#include <optional>
#include <string>

#include "des/simulation.hpp"
#include "report/transfers.hpp"
#include "scenario/deployment.hpp"

namespace orrery {

/// Whether a scenario's replicas are some that prefill and some that decode.
bool has_pools(const Scenario& scenario);

/// deploy() of such a scenario: each pool on its own device and split, joined by the network. The result's
/// model, device and settings are the prefill pool's. Errors: ConfigError for half a pair of pools, for pools
/// whose KV caches differ in format, or without a fabric.
Deployment deploy_pools(const Scenario& scenario);

/// What a run says of its pools: where time went, and what moved between them.
struct PoolsReport {
  struct Pool {
    int replicas = 0, gpus = 0;
    std::string gpu;
    double utilisation = 0;  ///< share of the run in which its GPUs were stepping
  };
  Pool prefill, decode;
  std::string fabric;
  TransferSummary transfers;
};
PoolsReport pools_report(const Deployment& deployment, const SimulationResult& result,
                         const TransferSummary& transfers);
OrderedJson to_json(const PoolsReport& report);

/// "replica 3 (decode, h100-sxm tp2)"
std::string replica_name(const Deployment& deployment, int replica);

}  // namespace orrery
