#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cost/drafting.hpp"
#include "cost/kernel_cost_model.hpp"
#include "cost/kernel_plan.hpp"
#include "cost/offload_cost.hpp"
#include "cost/step_peers.hpp"
#include "model/model_spec.hpp"
#include "ops/decode_set.hpp"

namespace orrery {

/// Prices of consecutive decode steps of an unchanged set: step j (from 0) takes first + slope * j, exactly,
/// for j < steps.
struct AffinePrice {
  Ps first{0};
  Ps slope{0};
  std::int64_t steps = 1;
};

/// Time by kernel class and by provenance, in seconds of device time plus "host".
struct TimeShares {
  std::map<std::string, double> by_class;
  std::array<double, kProvenanceCount> by_provenance{};
  double host = 0;
  double draft = 0;  ///< of the device time, that of draft models
  /// Seconds by (class, provenance): what the error bars are made of.
  std::map<std::pair<std::string, Provenance>, double> by_class_provenance;
};

/// One priced kernel call, for `orrery explain step`.
struct PricedCall {
  KernelCall call;
  KernelTime time;   ///< of one execution
  Seconds total{0};  ///< with repeat and factors
};
struct StepExplanation {
  std::vector<PricedCall> calls;
  Seconds device{0}, host{0}, total{0};
  std::vector<Seconds> stages;                 ///< of the device time, that of each pipeline stage
  Seconds computed{0};                         ///< of the device time, what the GPU computes
  std::array<Seconds, kOffloadLanes> lanes{};  ///< what works beside it, by OffloadLane
};

/// A step's way through a pipeline. A stage is busy for its time, what its worker does on the CPU before
/// included; what is sent to the next one takes a link's time, in which the stage can begin another batch.
struct StageTimes {
  Ps host{0};  ///< of the scheduler, before the first stage
  std::vector<Ps> stages;
  std::vector<Ps> links;  ///< one fewer
};

/// The price of engine steps of one (model, split, device, topology, plan): tables over tokens and logit
/// rows, and per decode-set size a piecewise affine function of context with integer picosecond coefficients,
/// filled on first use. With speculation a step also verifies and drafts (Drafting). Where the model has an
/// encoder and `image` a size, chunks bring the encoder's work for their images. Of a pipeline the price is
/// that of a batch alone in it: the scheduler, then each stage and link in turn. With `offload` a step also
/// waits for what does not lie on its GPU (OffloadLanes), and for the layers the host computes. Not
/// thread-safe (it fills its tables); one per replica group and thread. Prices depend on their arguments
/// alone, never on the order of calls.
class StepPricer {
 public:
  StepPricer(ModelSpec model, Shard shard, DeviceProfile device, Topology topology, KernelPlan plan,
             KernelCostModelPtr cost, Drafting drafting = {}, Image image = {}, Offload offload = {});
  ~StepPricer();
  StepPricer(StepPricer&&) noexcept;

  /// Data-parallel ranks that step together; an idle one computes a token that nobody asked for.
  StepPeers gather(std::span<const RankStep> ranks) const;

  /// Price of the next decode-only steps of `set`. `steps` ends at the next knot, at the step where host and
  /// device time change places, and is at least 1. For every j < steps, decode(set advanced by j).first ==
  /// first + slope * j.
  AffinePrice decode(const DecodeSet& set, const StepPeers& peers = {});

  /// Price of a step with prefill chunks beside an optional decode set.
  Ps mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, const StepPeers& peers = {});

  /// Writes out what decode() of one step, or mixed() with chunks, adds up to in a pipeline.
  void stage_times(const DecodeSet& set, std::span<const PrefillChunk> chunks, StageTimes& out);

  /// Adds the shares of `steps` decode steps (the same run as priced by decode) or of one mixed step to the
  /// running account; cheap (counts per table entry), expanded by shares().
  void account_decode(const DecodeSet& set, const AffinePrice& price, std::int64_t steps,
                      const StepPeers& peers = {});
  void account_mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, Ps total,
                     const StepPeers& peers = {});
  TimeShares shares() const;

  /// The same prices, per kernel call, for people.
  StepExplanation explain(const BatchShape& batch) const;

  const ModelSpec& model() const;
  const Shard& shard() const;
  const DeviceProfile& device() const;
  const KernelPlan& plan() const;
  const KernelCostModel& cost() const;
  const Drafting& drafting() const;
  Image image() const;
  const Offload& offload() const;
  /// Tokens of an image; 0 where images bring no work.
  Tokens image_tokens() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery
