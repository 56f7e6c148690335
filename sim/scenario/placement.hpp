#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hw/cluster_topology.hpp"
#include "scenario/deployment.hpp"

namespace orrery {

// Where a deployment's replicas stand among the servers of a cluster, for what moves between them.

/// GPUs from `first` on for each of a deployment's replicas, none across servers where one can hold it.
/// Returns how many they take, those left free in between included.
int place(Deployment& deployment, int first);
/// Servers like the deployment's with so many GPUs in all.
ServerGroup servers(const Deployment& deployment, int gpus);
/// The model of flows that a scenario's `fabric` stands for. Appends a warning where links are not contended.
std::string choose_fabric(const Scenario& scenario, std::vector<std::string>& warnings);
/// Bytes of the KV cache of so many tokens of a sequence, over all ranks of a replica.
std::function<double(Tokens)> sequence_bytes(const Deployment& deployment);

}  // namespace orrery
