#include "cost/alpha_beta.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

Seconds AlphaBeta::time(double ranks, double link_bytes, const DeviceProfile& device,
                        const Topology& topology, double spacing) const {
  double link = topology.gpu_link_bytes_per_s;
  if (link <= 0) link = std::max(device.nvlink_bytes_per_s, device.pcie_bytes_per_s);
  double alpha = launch_s + hop_s * std::max(0.0, ranks - 2);
  const double inside = std::max(1.0, std::floor(topology.gpus_per_node / spacing));  // ranks of one node
  if (ranks > inside && topology.gpus_per_node > 0) {
    alpha = launch_s + hop_s * std::max(0.0, inside - 2) + network_hop_s * (ranks - inside);
    if (topology.nic_bytes_per_s > 0) link = std::min(link, topology.nic_bytes_per_s);
  }
  return Seconds(alpha + (link > 0 ? link_bytes / (link * link_efficiency) : 0.0));
}

Seconds AlphaBeta::network_time(double link_bytes, const DeviceProfile& device,
                                const Topology& topology) const {
  if (topology.nic_bytes_per_s <= 0) return time(2, link_bytes, device, topology);
  return Seconds(launch_s + network_hop_s + link_bytes / (topology.nic_bytes_per_s * link_efficiency));
}

Seconds AlphaBeta::exchange_time(double ranks, double link_bytes, const DeviceProfile& device,
                                 const Topology& topology) const {
  const double inside = topology.gpus_per_node;
  if (inside <= 0 || ranks <= inside || topology.nic_bytes_per_s <= 0) {
    return time(std::min(ranks, 2.0), link_bytes, device, topology) + Seconds(ranks > 2 ? hop_s : 0);
  }
  const double leaving = link_bytes * (ranks - inside) / (ranks - 1);
  const Seconds within = time(2, link_bytes - leaving, device, topology);
  return std::max(within, Seconds(launch_s + leaving / (topology.nic_bytes_per_s * link_efficiency))) +
         Seconds(network_hop_s);
}

bool is_collective(const KernelClass& cls) {
  return cls.dims[0] == "ranks" && cls.dims[1] == "bytes";
}

namespace {
std::size_t place_of_ranks(const KernelClass& cls) {
  return static_cast<std::size_t>(std::find(cls.dims.begin(), cls.dims.end(), "ranks") - cls.dims.begin());
}
}  // namespace

bool is_exchange(const KernelClass& cls) {
  return !is_collective(cls) && place_of_ranks(cls) < cls.dims.size();
}

double ranks_of(const KernelCall& call) {
  return call.dims[place_of_ranks(*call.cls)];
}

double spacing_of(const KernelCall& call) {
  return call.cls->dims[2] == "spacing" ? call.dims[2] : 1;
}

bool leaves_node(const KernelCall& call, const Topology& topology) {
  return ranks_of(call) * spacing_of(call) > topology.gpus_per_node;
}

}  // namespace orrery
