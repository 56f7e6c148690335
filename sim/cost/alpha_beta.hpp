#pragma once

#include "base/units.hpp"
#include "hw/device_profile.hpp"
#include "ops/kernel_call.hpp"

namespace orrery {

/// Time of a collective by latency and bandwidth (Hockney, 1994): alpha + bytes each rank sends / beta, where
/// nobody measured it. alpha = `launch` + `hop` per further rank; beta = the slowest link a rank must use
/// (inside the node, or the network card beyond it) times `link_efficiency`. The defaults are round figures
/// between what NCCL reaches on NVLink nodes of two generations (fit.json of h100-sxm and a100-sxm-80g);
/// ours, not a datasheet's.
struct AlphaBeta {
  double launch_s = 5e-6;
  double hop_s = 1.5e-6;
  double network_hop_s = 5e-6;  ///< instead of hop_s for ranks in other nodes
  double link_efficiency = 0.75;

  /// `ranks` taking part, every `spacing`-th GPU; `link_bytes` sent by each. Without any link in the
  /// topology, PCIe of the device.
  Seconds time(double ranks, double link_bytes, const DeviceProfile& device, const Topology& topology,
               double spacing = 1) const;
  /// From one rank to another one in another node, over the network card.
  Seconds network_time(double link_bytes, const DeviceProfile& device, const Topology& topology) const;
  /// The same as time() where every rank sends to every other directly, equal parts: one hop, and what leaves
  /// the node and what stays in it move side by side.
  Seconds exchange_time(double ranks, double link_bytes, const DeviceProfile& device,
                        const Topology& topology) const;
};

/// Whether a call is a collective (its dims are ranks and bytes).
bool is_collective(const KernelClass& cls);
/// Whether it is an exchange of rows, each rank with each (ranks stand among other dims).
bool is_exchange(const KernelClass& cls);
/// The ranks that take part in either.
double ranks_of(const KernelCall& call);
/// GPUs from one of a collective's ranks to the next: 1, but for groups across those of tensor parallelism.
double spacing_of(const KernelCall& call);
/// Whether a collective's ranks lie in several nodes.
bool leaves_node(const KernelCall& call, const Topology& topology);

}  // namespace orrery
