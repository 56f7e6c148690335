#pragma once

#include "base/units.hpp"
#include "serving/scheduler.hpp"

namespace orrery::live {

/// What running a step showed.
struct StepReport {
  double device_s = 0;  ///< from its first kernel's start to its last one's end; 0 = not measured
  double gap_s = 0;     ///< the device's idle time before it, when it was launched while another ran
  int padded = 0;       ///< rows the dense kernels ran on
  bool graph = false;   ///< replayed from a CUDA graph
};

/// Runs planned steps, in the order in which they are given to it.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  /// Starts a step right after its plan was made, perhaps behind one that still runs.
  virtual void launch(const Scheduler& scheduler, const BatchPlan& plan) = 0;
  /// Waits for the oldest step that was launched; its tokens are known then.
  virtual StepReport finish() = 0;
  /// The request has all its tokens, or left: nobody asks for them again.
  virtual void forget(RequestId id) = 0;
};

/// The time of a live run, from its start.
class RunClock {
 public:
  virtual ~RunClock() = default;
  virtual Ps now() const = 0;
  virtual void wait_until(Ps time) = 0;
};

}  // namespace orrery::live
