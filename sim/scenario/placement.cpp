#include "scenario/placement.hpp"

#include <algorithm>

#include "des/flow_model.hpp"

namespace orrery {

int place_replicas(Deployment& d, int first) {
  const int gpus = d.lowering.shard.gpus(), node = d.topology.gpus_per_node;
  const int per_server = std::max(1, node / gpus);
  const int stride = gpus >= node ? (gpus + node - 1) / node * node : node;
  int end = 0;
  for (std::size_t i = 0; i < d.cluster.replicas.size(); ++i) {
    ReplicaConfig& replica = d.cluster.replicas[i];
    const int n = static_cast<int>(i);
    const int offset = n / per_server * stride + n % per_server * gpus;
    replica.first_gpu = first + offset, replica.gpus = gpus;
    end = offset + gpus;
  }
  return end;
}

ServerGroup server_group(const Deployment& d, int gpus) {
  return {d.topology, d.device.pcie_bytes_per_s, gpus};
}

std::string choose_flows(const Scenario& s, std::vector<std::string>& warnings) {
  if (s.pools.fabric != "auto") return Registry<FlowModels>::find(s.pools.fabric).name;
  if (contended_fabric_built_in()) return "simgrid";
  warnings.emplace_back("SimGrid is not built in: transfers do not slow each other down");
  return "uncontended";
}

std::function<double(Tokens)> sequence_bytes(const Deployment& d) {
  LoweringContext whole_model = d.lowering;
  whole_model.shard = {};
  return [model = d.model, whole_model](Tokens tokens) { return model.sequence_bytes(tokens, whole_model); };
}

}  // namespace orrery
