#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/summary.hpp"
#include "scenario/axis.hpp"
#include "scenario/deployment.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// A planner's question: which and how many GPUs, split and set how, serve this at these promises?
struct PlanQuestion {
  Assignments base;           ///< the scenario, without what the axes vary
  std::vector<Axis> axes;     ///< their product is searched
  bool disaggregated = true;  ///< also pools that prefill and pools that decode
  double target_rps = 0;      ///< 0 = none: each configuration's own highest rate, on one replica
  int max_gpus = 0;           ///< 0 = any number
  std::map<std::string, double> usd_per_gpu_hour;  ///< by device name
  std::size_t simulate = 24;                       ///< configurations, the most promising of each kind first
  int threads = 1;
  std::function<void(std::size_t done, std::size_t all)> progress;  ///< from any thread, one at a time
};

/// One configuration: a unit (a replica, or some that prefill with some that decode), to be repeated.
struct PlanCandidate {
  std::vector<std::pair<std::string, std::string>> values;  ///< setting, value: what tells it from the others
  Scenario scenario;                                        ///< of one unit
  int prefill = 0, decode = 0;                              ///< replicas of its pools; 0 = replicas do both
  std::map<std::string, int> gpus;                          ///< of a unit, by device
  int all_gpus() const;
};

/// What mean lengths and prices say before anything is simulated: near, and never by much too low.
struct PlanEstimate {
  double rate = 0;                           ///< requests/s of one replica that does both; 0 = cannot serve
  double prefill_rate = 0, decode_rate = 0;  ///< of one that does one only
  double ttft_ms = 0, tpot_ms = 0;           ///< alone on the replica: nothing is faster
  std::string refused;                       ///< why it cannot serve; each half may still be able to
};

/// A configuration and what simulating it found.
struct Plan {
  PlanCandidate candidate;
  PlanEstimate estimate;
  double unit_rps = 0;  ///< the highest rate of one unit that keeps the promises; 0 = none does
  int units = 0;
  bool meets = false;  ///< at the target rate, within max_gpus
  std::optional<Summary>
      at;             ///< at the target, or at unit_rps without one; of a single user when none is met
  std::string limit;  ///< what is hit first above unit_rps
  std::optional<double> usd_per_hour, usd_per_million_output_tokens;
  int gpus() const { return units * candidate.all_gpus(); }
  double tokens_per_s_per_gpu() const;
  double tokens_per_s_per_user() const;  ///< 1000 / mean TPOT
};

struct PlanAnswer {
  PlanQuestion question;
  std::vector<Plan> plans;         ///< simulated, best first
  std::vector<Plan> refused;       ///< cannot serve, by what they would need
  std::size_t configurations = 0;  ///< searched
  std::size_t not_simulated = 0;   ///< could serve, but others looked better
  std::string infeasible;          ///< why no plan meets the promises; "" = one does
  double wall_s = 0;
};

/// Answers the question; the same whatever the number of threads. Errors: ConfigError for an empty search
/// space, a scenario without a promise, or settings that contradict each other.
PlanAnswer make_plan(const PlanQuestion& question);

/// The product of the axes, in their order. Errors: ConfigError for an axis without values.
std::vector<PlanCandidate> plan_candidates(const PlanQuestion& question);
/// Pools in which replicas of `prefill` compute prompts and those of `decode` go on, in the numbers that
/// waste least by the estimates, and what that estimates; none when either cannot, or they differ in more
/// than device and split (Zhong et al., OSDI 2024, section 4: each phase has its own parallelism).
std::optional<Plan> plan_pools(const PlanQuestion& question, const Plan& prefill, const Plan& decode);

/// Lengths as a planner needs them, read from the first requests of a scenario's workload.
struct WorkloadMeans {
  double prompt_tokens = 0, output_tokens = 0;
  bool shares_prefixes = false;
};
WorkloadMeans workload_means(const Scenario& scenario);
/// Errors: none; what a scenario cannot run is the estimate's `refused`.
PlanEstimate estimate(const Scenario& scenario, const WorkloadMeans& means);

/// Simulates one unit at rates until the highest that keeps the promises is known within 3%.
void find_rate(Plan& plan);
/// Repeats units until the target rate is served.
void find_units(Plan& plan, const PlanQuestion& question);

/// "3 x h200-sxm tp1, max_num_seqs 256".
std::string describe(const PlanCandidate& candidate);
/// The command that starts one replica, ready to paste; of pools, one line for each.
std::string deploy_command(const PlanCandidate& candidate);
OrderedJson to_json(const PlanAnswer& answer);

}  // namespace orrery
