#include "cost/alpha_beta.hpp"

#include <algorithm>

#include "ops/kernel_classes.hpp"

namespace orrery {

Seconds AlphaBeta::time(double ranks, double link_bytes, const DeviceProfile& device,
                        const Topology& topology) const {
  double link = topology.gpu_link_bytes_per_s;
  if (link <= 0) link = std::max(device.nvlink_bytes_per_s, device.pcie_bytes_per_s);
  double alpha = launch_s + hop_s * std::max(0.0, ranks - 2);
  const double inside = topology.gpus_per_node;
  if (ranks > inside && inside > 0) {
    alpha = launch_s + hop_s * std::max(0.0, inside - 2) + network_hop_s * (ranks - inside);
    if (topology.nic_bytes_per_s > 0) link = std::min(link, topology.nic_bytes_per_s);
  }
  return Seconds(alpha + (link > 0 ? link_bytes / (link * link_efficiency) : 0.0));
}

bool is_collective(const KernelClass& cls) {
  return &cls == &kAllReduceNccl || &cls == &kAllReduceCustom || &cls == &kAllGather || &cls == &kSendRecv;
}

}  // namespace orrery
