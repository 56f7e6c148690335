#pragma once

#include <functional>

#include "cost/kernel_cost_model.hpp"
#include "hw/host_profile.hpp"
#include "ops/offload_policy.hpp"

namespace orrery {

/// What works beside the GPU while a step's tensors come from elsewhere: the link in both directions, the
/// drives in both directions, the host's cores.
enum class OffloadLane : std::uint8_t { load, store, read, write, host };
inline constexpr std::size_t kOffloadLanes = 5;
constexpr std::string_view name(OffloadLane lane) {
  constexpr std::string_view names[] = {"loading", "storing", "reading", "writing", "host"};
  return names[static_cast<int>(lane)];
}

/// A policy with the computer it is carried out on.
struct Offload {
  OffloadPolicy policy;
  HostProfile host;
};

/// Shares of a host's peaks that its kernels and copies reach: round figures, ours, in this one place.
struct HostEfficiency {
  double vector = 0.5;
  double memory = 0.8;
};

/// The host's cores as a device: the roofline of their vector units and memory, without launches.
KernelCostModelPtr host_cost(const HostProfile& host, const HostEfficiency& efficiency = {});

/// Another model's prices of some calls: `price` gives seconds, negative where it has none; those, and errors
/// and sources, are `other`'s.
KernelCostModelPtr cost_with(KernelCostModelPtr other, std::function<double(const KernelCall&)> price);

/// The GPU's own part of a step's kernels. Where the host computes attention, decode attention over the keys
/// that lie on the GPU alone. Where neurons are split, the matrices of dense feed-forwards take as long as
/// the slower of the two halves: the activated hot rows on the GPU; the activated cold ones on the host, with
/// their input and output over the link. The same model where nothing changes.
KernelCostModelPtr cost_beside_host(KernelCostModelPtr gpu, const Offload& offload);

}  // namespace orrery
