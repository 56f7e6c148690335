#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cost/step_pricer.hpp"

namespace orrery {

/// Requests as a schedule of phases sees them: prompts of one length, and how long answers are.
struct PhaseWorkload {
  Tokens prompt = 0;
  /// Element i: the share of answers longer than i tokens; the first is 1, and they fall to 0 at the end.
  std::vector<double> longer_than;
  Tokens bounded_answer = 0;  ///< the length whose latency is bounded (the paper's: the 99th percentile)
};

/// `batch` prompts are computed together, then all who are there decode for `iterations` steps, and so on
/// (ExeGPT: Oh et al., ASPLOS 2024, section 3): who is done leaves, and new prompts take the places.
struct PhaseSchedule {
  std::int64_t batch = 0, iterations = 0;
  double throughput = 0;  ///< requests per second
  double latency_s =
      0;  ///< from the first prompt step's start to the last token of PhaseWorkload::bounded_answer
  double tokens = 0;  ///< in the KV cache, the most there are in a cycle
};

/// What schedules of phases take in the steady state. With the same GPUs for both (round-robin allocation,
/// RRA) a cycle is a batch of prompts and its decode steps, one after the other; with GPUs of their own
/// (workload-aware allocation, WAA) the longer of the two.
class PhaseModel {
 public:
  /// RRA.
  PhaseModel(StepPricer& pricer, PhaseWorkload workload);
  /// WAA; what moves between the two is hidden behind their steps.
  PhaseModel(StepPricer& prefill, StepPricer& decode, PhaseWorkload workload);

  PhaseSchedule evaluate(std::int64_t batch, std::int64_t iterations) const;

 private:
  double decoding(std::int64_t batch, std::int64_t iterations, Tokens step, double& tokens) const;

  StepPricer& prefill_;
  StepPricer& decode_;
  bool apart_;
  PhaseWorkload workload_;
};

/// What a schedule must keep to, and how far the search looks.
struct PhaseLimits {
  double latency_s = 0;
  double tokens = 0;  ///< that the KV cache holds
  std::int64_t max_batch = 256, max_iterations = 256;
};

/// The schedule with the highest throughput within `limits`; none where none is. Branch and bound over both
/// sizes (ExeGPT, section 5): throughput, latency and memory all grow with the batch and with how often
/// prompts come, so that a block of sizes is no better than its one corner and no faster than its other.
/// Where steps are padded they do so but for a little, which `slack` allows for: the result is within as much
/// of the best.
std::optional<PhaseSchedule> best_schedule(const PhaseModel& model, const PhaseLimits& limits,
                                           double slack = 0.01);

}  // namespace orrery
