#pragma once

#include <string>

#include "catalogue/method.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"
#include "ops/equal_sequences.hpp"

// What the rows on offloading ask of prices.
namespace away {

using namespace orrery;

inline OffloadPolicy policy_of(std::string_view row) {
  return block_of<OffloadPolicy>(row, "offload");
}

/// A model alone on a device at its datasheet's speed of light, without host time.
inline StepPricer pricer(const ModelSpec& model, const DeviceProfile& device, const OffloadPolicy& policy,
                         const HostProfile& host, const Precision& precision = {}) {
  KernelPlan plan;
  plan.precision = precision;
  return {
      model,      Shard{}, device,
      Topology{}, plan,    std::make_shared<RooflineModel>(device, Topology{}, AnalyticEfficiency::ideal()),
      Drafting{}, Image{}, Offload{policy, host}};
}

inline double decode_s(const ModelSpec& model, StepPricer& pricer, std::int64_t seqs, Tokens context) {
  return to_seconds(pricer.decode(equal_sequences(model.caps(), seqs, context)).first).value;
}

inline StepExplanation explained(const ModelSpec& model, const StepPricer& pricer, std::int64_t seqs,
                                 Tokens context) {
  return pricer.explain(equal_decodes(model.caps(), seqs, context));
}

inline double lane(const StepExplanation& step, OffloadLane which) {
  return step.lanes[static_cast<std::size_t>(which)].value;
}

}  // namespace away
