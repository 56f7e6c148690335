#pragma once

#include <algorithm>
#include <cstdint>

#include "cost/drafting.hpp"
#include "cost/kernel_plan.hpp"

namespace orrery {

/// Host time of a step in integer picoseconds, and how it combines with the device's. Each stage of a
/// pipeline has a worker whose own part shows. What a batch's scheduling could hide behind is other batches:
/// its sequences are planned again when it returns.
struct HostTime {
  HostTime(const KernelPlan& plan, const Drafting& drafting, int workers)
      : async(plan.async_scheduling && workers == 1),
        stages(workers),
        per_step(to_ps(plan.host_per_step).value),
        per_seq(to_ps(plan.host_per_seq).value),
        exposed(to_ps(plan.host_exposed + drafting.host).value),
        exposed_prefill(to_ps(plan.host_exposed_prefill).value) {}

  std::int64_t hidden(std::int64_t seqs) const { return per_step + per_seq * seqs; }
  std::int64_t worker(bool prefill) const { return exposed + (prefill ? exposed_prefill : 0); }
  /// What a step takes at least, whatever the device: launches, and what async scheduling hides behind it.
  std::int64_t floor(std::int64_t launches, std::int64_t seqs) const {
    return async ? std::max(launches, hidden(seqs)) : launches;
  }
  std::int64_t step(std::int64_t device, std::int64_t launches, std::int64_t seqs, bool prefill) const {
    return std::max(device, floor(launches, seqs)) + (async ? 0 : hidden(seqs)) + stages * worker(prefill);
  }

  bool async;
  std::int64_t stages;
  std::int64_t per_step, per_seq, exposed, exposed_prefill;
};

}  // namespace orrery
