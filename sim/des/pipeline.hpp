#pragma once

#include <deque>
#include <vector>

#include "des/engine_core.hpp"
#include "des/replica.hpp"

namespace orrery {

/// One engine core over the stages of a pipeline, with as many batches in flight as it has stages. A batch
/// goes through the scheduler, then stage by stage: it enters one when it has arrived there and the batch
/// before it has left. So each stage works on one batch at a time, in the order they were planned, and where
/// a stage waits is what the batches make of it: no bubble is assumed. The scheduler plans while others are
/// in flight, one plan after the other, as soon as a batch returns or, with room for one, a request arrives
/// (vLLM v1, v1/engine/core.py: step_with_batch_queue). Steps are events one by one.
class PipelineReplica final : public Replica {
 public:
  PipelineReplica(int index, const ReplicaConfig& config, const CoreContext& context);

  void enqueue(const Request& request, Ps now) override;
  void look_again(Ps now) override;
  void loaded(const SequenceHandle& sequence, Ps now) override;
  void count_tiers(std::vector<KvTierCounts>& sums) const override { core_.count_tiers(sums); }
  Ps next_event() const override;
  void evacuate(Ps now, std::vector<Evacuated>& out) override;
  void resume(const Evacuated& begun, bool kv_kept, Ps now) override;
  void receive(const SequenceHandle& sequence, const Prefilled& before, Ps now) override;
  void on_event(Ps now) override;
  std::int64_t waiting() const override { return core_.waiting(); }
  std::int64_t kv_blocks_free() const override { return core_.kv().free_blocks(); }
  Tokens cached_tokens(const Request& request) const override { return core_.kv().cached_tokens(request); }
  /// On the mean of its stages.
  Ps busy() const override { return Ps(busy_.value / static_cast<std::int64_t>(free_.size())); }

 private:
  struct Flight {
    EngineCore::Step step;
    StepRun run;   ///< from the decision to the end of the last stage
    Ps alone{0};   ///< the same in an empty pipeline
    Ps worked{0};  ///< time on stages, summed
  };
  void begin(Ps now);
  void launch(Ps now);
  void settle(Flight& flight);

  const CoreId where_;
  const CoreContext context_;
  EngineCore core_;
  std::deque<Flight> flights_;  ///< in the order they were planned, in which they end
  StageTimes times_;            ///< reused
  std::vector<Ps> free_;        ///< by stage, since when
  Ps scheduler_free_{0};
  Ps wake_{kNever}, busy_{0};
  bool stopped_ = false;  ///< evacuated
};

}  // namespace orrery
