#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <queue>
#include <span>
#include <vector>

#include "des/simulation.hpp"
#include "step_runner.hpp"

namespace orrery::live {

/// A step as it was run; a row of steps.csv.
struct LiveStep {
  Ps start{0}, duration{0};  ///< by the host's clock: from the end of the one before, or its launch
  std::int64_t decode_seqs = 0;
  Tokens context = 0;  ///< KV tokens the decode set reads, own tokens included, summed
  Tokens prefill_tokens = 0;
  std::span<const ScheduledChunk> chunks;
  StepReport report;
  double host_s = 0;  ///< the host's time to plan and launch it
};

/// Replays `source` on one engine that really runs the steps: the simulator's EngineCore (sim/des) with
/// another clock. Decisions, their order, and what observers are told are the same: when steps take as long
/// as they are priced, so is every number. Times of requests are those at which the host has their tokens.
///
/// `replica` gives the scheduler, the KV cache (with block ids) and the front end's delays; the pricer is not
/// asked for prices. Errors: ConfigError as simulate(); what the runner throws.
class Server {
 public:
  Server(const ReplicaConfig& replica, std::vector<KeyCap> caps, StepRunner& runner, RunClock& clock,
         std::span<Observer* const> observers);

  /// Told of every step; may be left empty.
  std::function<void(const LiveStep&)> on_step;

  SimulationResult run(RequestSource& source, Ps until = kNever, const std::atomic<bool>* stop = nullptr);

 private:
  struct Later {
    bool operator()(const Request& a, const Request& b) const {
      return a.arrival != b.arrival ? a.arrival > b.arrival : a.id > b.id;
    }
  };
  /// A plan that was launched.
  struct Flight {
    BatchPlan plan;
    double host_s = 0;
  };

  void pull();
  Ps reaches(const Request& request) const;
  Ps next_arrival() const;
  void admit(Ps now);
  void refuse(const Request& request, const char* reason, Ps now);
  bool begin(Ps now);
  void plan_and_launch(Flight& flight, Ps now);
  void mark_preempted(const BatchPlan& plan, Ps last_token);
  void settle();
  void tell_step(Ps now, const StepReport& report);
  void deliver(Ps now);
  void finish_request(SeqIndex index, Ps now);
  CoreLoad load() const;

  FrontEnd front_end_;
  bool async_;
  Tokens max_model_len_;
  std::unique_ptr<Scheduler> scheduler_;
  StepRunner& runner_;
  RunClock& clock_;
  std::span<Observer* const> observers_;
  RequestSource* source_ = nullptr;
  SimulationResult totals_;

  std::priority_queue<Request, std::vector<Request>, Later> pending_;
  Flight current_, next_;
  std::vector<ChunkEvent> chunk_events_;
  CoreLoad load_;
  Ps start_{0}, stall_{0}, last_decode_{0};
  std::int64_t stalled_seqs_ = 0, joined_since_decode_ = 0;
};

}  // namespace orrery::live
