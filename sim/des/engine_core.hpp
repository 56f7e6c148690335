#pragma once

#include <memory>
#include <vector>

#include "des/replica.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

/// Steps that follow one another without a decision between them: `steps` of them from `start`, the j-th
/// taking first + slope * j.
struct StepRun {
  Ps start{0};
  AffinePrice price;
  std::int64_t steps = 0;

  Ps boundary(std::int64_t n) const {
    return start + Ps(price.first.value * n + price.slope.value * (n * (n - 1) / 2));
  }
  Ps end() const { return boundary(steps); }
  /// Ends it at its first boundary at or after `now`.
  void cut(Ps now);
};

/// One engine: a scheduler, what its steps compute and who gets tokens from them. Whoever owns it (a Replica)
/// owns the clock: plan() at the start of a step, shape() and price(), launch() with the run that was decided
/// for it, settle() at its end. With async scheduling the plan of step n+1 is made when step n starts, so an
/// arrival during step n joins n+2.
class EngineCore {
 public:
  /// Whether an arrival may change what the steps in flight would have gone on with.
  enum class Arrival { refused, behind_others, first };

  EngineCore(CoreId where, const ReplicaConfig& config, const CoreContext& context);

  Arrival enqueue(const Request& request, Ps now);
  Arrival expect(const Request& request, Ps now);
  void receive(SeqIndex index, const Prefilled& before) { scheduler_->received(index, before); }
  void release(SeqIndex index) { scheduler_->release_held(index); }
  /// Decides the step that starts at `now`; false when there is nothing to do.
  bool plan(Ps now);
  /// What the planned step brings to those that step together with it.
  RankStep shape() const { return {current_.decode.seqs, current_.prefill_tokens, chunk_count()}; }
  /// The planned step's price; `steps` ends where the next decision may differ.
  AffinePrice price(const StepPeers& peers);
  /// The planned step, or so many like it, is on its way.
  void launch(const StepRun& run);
  /// It is over. `counted`: its kernels enter the pricer's account.
  void settle(const StepRun& run, const StepPeers& peers, bool counted);

  bool planned() const { return !current_.empty(); }
  const KvCache& kv() const { return scheduler_->kv(); }
  std::int64_t running() const { return scheduler_->running(); }
  std::int64_t waiting() const { return scheduler_->waiting(); }

 private:
  bool pure() const { return current_.chunks.empty(); }
  std::int64_t chunk_count() const { return static_cast<std::int64_t>(current_.chunks.size()); }
  void decide(BatchPlan& plan, Ps now);
  Arrival queued(const Request& request, SeqIndex index, bool was_empty, const char* refusal, Ps now);
  void hand_over(SeqIndex index, Ps now);
  void refuse(const Request& request, const char* reason, Ps now);
  void mark_preempted(const BatchPlan& plan, Ps last_token);
  void mark_stalled(Ps now);
  std::int64_t steps_that_cannot_change() const;
  void tell(const StepRun& run, const StepPeers& peers, bool counted);
  void tell_decode(const StepRun& run, const StepPeers& peers, bool counted);
  void deliver(Ps now);
  void finish_request(SeqIndex index, Ps now);
  CoreLoad load() const;

  CoreId where_;
  FrontEnd front_end_;
  bool async_, hands_over_;
  CoreContext context_;
  std::shared_ptr<StepPricer> pricer_;
  std::unique_ptr<Scheduler> scheduler_;

  BatchPlan current_;  ///< of the step planned or in flight
  BatchPlan next_;     ///< async only: already decided
  std::int64_t stalled_seqs_ = 0;
  Ps stall_{0};
  std::vector<PrefillChunk> chunks_;
  std::vector<ChunkEvent> chunk_events_;
  CoreLoad load_;
  Ps last_decode_{0};  ///< when the decode set last got tokens
  std::int64_t joined_since_decode_ = 0;
};

}  // namespace orrery
