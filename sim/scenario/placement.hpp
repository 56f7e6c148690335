#pragma once

#include <functional>
#include <string>
#include <vector>

#include "scenario/deployment.hpp"

namespace orrery {

/// GPUs from `first` on for each of a deployment's replicas, none across servers where one can hold it.
/// Returns how many they take, those left free between included.
int place_replicas(Deployment& deployment, int first);

/// The servers that hold so many GPUs of a deployment's kind.
ServerGroup server_group(const Deployment& deployment, int gpus);

/// How transfers share links: what the scenario says, or the best there is, with a warning if that is not
/// good.
std::string choose_flows(const Scenario& scenario, std::vector<std::string>& warnings);

/// Bytes of the KV cache of so many tokens of a sequence, over all ranks of a replica.
std::function<double(Tokens)> sequence_bytes(const Deployment& deployment);

}  // namespace orrery
