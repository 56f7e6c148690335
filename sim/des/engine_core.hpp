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
  /// Ends it at its last boundary not after `now`; false when there is none but its start.
  bool keep_whole(Ps now);
};

/// Of so many bytes between GPUs and their host at a wire rate: AlphaBeta's share of it, and a hop.
Ps copy_time(double bytes, double bytes_per_s);

/// One engine: a scheduler, what its steps compute and who gets tokens from them. Whoever owns it (a Replica)
/// owns the clock: plan() at the start of a step, shape() and price(), launch() with the run that was decided
/// for it, settle() at its end. With async scheduling the plan of step n+1 is made when step n starts, so an
/// arrival during step n joins n+2.
///
/// In a pipeline several steps are in flight: each is taken out once it is launched, another one planned, and
/// it is put back when it is over.
class EngineCore {
 public:
  /// Whether an arrival may change what the steps in flight would have gone on with.
  enum class Arrival { refused, behind_others, first };

  EngineCore(CoreId where, const ReplicaConfig& config, const CoreContext& context);

  Arrival enqueue(const Request& request, Ps now);
  Arrival expect(const Request& request, Ps now);
  void receive(SeqIndex index, const Prefilled& before) { scheduler_->received(index, before); }
  void release(SeqIndex index) { scheduler_->release_held(index); }
  /// The first steps of the run in flight, `done`, are over; the others go on.
  void pass(const StepRun& done, const StepPeers& peers, bool counted);
  /// A sequence that decodes gets its last token here with the plan made last:
  /// RequestListener::on_departed().
  void depart(SeqIndex index);
  /// Tokens of a decoding sequence that the steps behind it have put into its cache.
  Tokens computed_tokens(SeqIndex index) const;
  Scheduler& scheduler() { return *scheduler_; }
  const Scheduler& scheduler() const { return *scheduler_; }
  void loaded(const SequenceHandle& sequence);
  void count_tiers(std::vector<KvTierCounts>& sums) const;
  /// Decides the step that starts at `now`; false when there is nothing to do.
  bool plan(Ps now);
  /// What the planned step brings to those that step together with it.
  RankStep shape() const { return {current_.plan.decode.seqs, current_.plan.prefill_tokens, chunk_count()}; }
  /// The planned step's price; `steps` ends where the next decision may differ.
  AffinePrice price(const StepPeers& peers);
  /// The planned step, or so many like it, is on its way.
  void launch(const StepRun& run);
  /// It is over. `counted`: its kernels enter the pricer's account.
  void settle(const StepRun& run, const StepPeers& peers, bool counted, double gpu_share = 1);

  /// Gives up all requests, as they stand if `lost`, the latest plans beside the one planned ahead, are not
  /// run. Nothing else may be asked of it afterwards.
  void evacuate(std::vector<const BatchPlan*> lost, Ps now, std::vector<Evacuated>& out);
  /// As enqueue(), of a request that another engine has begun; as expect() with `kv_kept`.
  Arrival resume(const Evacuated& begun, bool kv_kept, Ps now);
  const BatchPlan& current_plan() const { return current_.plan; }

  bool planned() const { return !current_.plan.empty(); }
  /// A step planned or in flight.
  struct Step {
    BatchPlan plan;
    std::vector<PrefillChunk> chunks;
    std::int64_t stalled_seqs = 0;
    Ps stall{0};
    CoreLoad load;
  };
  void exchange(Step& other) { std::swap(current_, other); }
  /// Whether another step may be planned before those in flight are over.
  bool may_plan() const { return scheduler_->has_free_lane(); }
  /// The planned step's way through the pipeline.
  void stage_times(StageTimes& out);
  /// The kernels of `run`, which has just been told or is being, enter the pricer's account.
  void account(const StepRun& run, const StepPeers& peers);
  const KvCache& kv() const { return scheduler_->kv(); }
  std::int64_t running() const { return scheduler_->running(); }
  std::int64_t waiting() const { return scheduler_->waiting(); }

 private:
  /// What is remembered of a lane's decode set between its steps.
  struct LaneClock {
    Ps last_decode{0};  ///< when it last got tokens
    std::int64_t joined_since = 0;
    Ps end{0};  ///< of its step in flight, or of its last one
  };
  LaneClock& clock() { return clocks_[static_cast<std::size_t>(current_.plan.lane)]; }
  CoreId where() const { return {where_.replica, where_.core, current_.plan.lane}; }
  DecodeSet first_set(const StepRun& run) const;
  bool pure() const { return current_.plan.chunks.empty(); }
  std::int64_t chunk_count() const { return static_cast<std::int64_t>(current_.plan.chunks.size()); }
  void decide(BatchPlan& plan, Ps now);
  void shed(Ps now);
  Arrival queued(const Request& request, SeqIndex index, bool was_empty, const char* refusal, Ps now);
  Prefilled so_far(SeqIndex index, Ps last_token) const;
  void hand_over(SeqIndex index, Ps now);
  void refuse(const Request& request, const char* reason, Ps now);
  void mark_preempted(const BatchPlan& plan, Ps last_token);
  void mark_stalled(Ps now);
  std::int64_t steps_that_cannot_change() const;
  void tell(const StepRun& run, double gpu_share);
  void tell_decode(const StepRun& run, double gpu_share);
  void deliver(Ps now);
  void finish_request(SeqIndex index, Ps now);
  CoreLoad load() const;
  Ps swap_out_time() const;

  CoreId where_;
  FrontEnd front_end_;
  bool async_, hands_over_;
  CoreContext context_;
  KvLinks links_;
  std::shared_ptr<StepPricer> pricer_;
  std::unique_ptr<Scheduler> scheduler_;

  Step current_;    ///< planned or in flight
  BatchPlan next_;  ///< async only: already decided
  std::vector<ChunkEvent> chunk_events_;
  std::vector<SeqIndex> shed_;  ///< reused
  std::vector<LaneClock> clocks_;
  std::int64_t evicted_blocks_ = 0;  ///< that the totals know of
};

}  // namespace orrery
