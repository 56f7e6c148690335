#pragma once

#include <memory>
#include <vector>

#include "des/simulation.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

/// One engine: a scheduler and the steps it runs, one at a time. Advances whole decode runs: while nobody
/// joins or leaves, k steps are one event whose end follows from the affine price. With async scheduling the
/// plan of step n+1 is made when step n starts, so an arrival during step n joins n+2.
class EngineCore {
 public:
  /// Told when a request leaves (for the router's view, closed loops and records).
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void on_done(const Request& request, const RequestRecord& record) = 0;
  };

  EngineCore(CoreId where, const ReplicaConfig& config, bool stepwise, std::span<Observer* const> observers,
             Listener& listener, SimulationResult& totals);

  /// A request reaches the scheduler at `now`. May bring next_event() nearer.
  void enqueue(const Request& request, Ps now);
  /// The end of the step or run in flight, or the moment an idle engine wakes; kNever when idle.
  Ps next_event() const { return wake_ != kNever ? wake_ : end_; }
  /// Handles next_event(), which is now.
  void on_event(Ps now);

  const KvCache& kv() const { return scheduler_->kv(); }
  std::int64_t unfinished() const { return scheduler_->running() + scheduler_->waiting(); }
  Ps busy() const { return busy_; }

 private:
  /// A planned step, or the decode run that starts with it.
  struct Flight {
    BatchPlan plan;
    AffinePrice price;
    std::int64_t steps = 0;
    std::int64_t stalled_seqs = 0;
    Ps stall{0};
    bool pure() const { return plan.chunks.empty(); }
  };

  void decide(BatchPlan& plan, Ps now);
  void refuse(const Request& request, const char* reason, Ps now);
  void cut_run(Ps now);
  void begin(Ps now);
  void mark_preempted(const BatchPlan& plan, Ps last_token);
  void price_current();
  std::int64_t steps_that_cannot_change() const;
  void settle(Ps now);
  void tell_step(Ps now);
  void deliver(Ps now);
  void finish_request(SeqIndex index, Ps now);
  Ps boundary(std::int64_t steps) const;
  CoreLoad load() const;

  CoreId where_;
  FrontEnd front_end_;
  bool async_, stepwise_;
  std::shared_ptr<StepPricer> pricer_;
  std::unique_ptr<Scheduler> scheduler_;
  std::span<Observer* const> observers_;
  Listener& listener_;
  SimulationResult& totals_;

  Flight current_;  ///< in flight while end_ != kNever
  BatchPlan next_;  ///< async only: already decided
  std::vector<PrefillChunk> chunks_;
  std::vector<ChunkEvent> chunk_events_;
  CoreLoad load_;
  Ps start_{0}, end_{kNever}, wake_{kNever}, busy_{0};
  Ps last_decode_{0};  ///< when the decode set last got tokens
  std::int64_t joined_since_decode_ = 0;
};

}  // namespace orrery
