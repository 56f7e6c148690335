#pragma once

#include <optional>
#include <string>
#include <vector>

#include "active_sampling.hpp"
#include "bench.hpp"
#include "dram_report.hpp"
#include "lost_cases.hpp"
#include "plan.hpp"
#include "progress.hpp"
#include "shapes.hpp"
#include "tables.hpp"

namespace orrery::profile {

struct Outcome {
  int measured = 0, present = 0, skipped = 0;
  std::vector<std::string> wrong;  ///< cases whose result differs from the reference
  bool interrupted = false;        ///< the user asked to stop
};

/// Measures case after case into the tables, until the plan or the time is over.
class Collector {
 public:
  Collector(Bench& bench, Tables& tables, LostCases& lost, Progress& progress,
            const kernels::DeviceInfo& device, std::optional<double> budget_s)
      : bench_(bench),
        tables_(tables),
        lost_(lost),
        progress_(progress),
        device_(device),
        budget_s_(budget_s) {}

  /// Errors: ConfigError (no_device) when the GPU is lost, ConfigError when a row cannot be written.
  void sweep(Plan plan);
  /// Up to `most` cases where interpolation between the rows so far errs most; they are looked for anew after
  /// every few rows.
  void sample_actively(const CaseFinder& finder, int most);
  const Outcome& outcome() const { return outcome_; }
  /// The cases whose DRAM traffic was counted in this run.
  const std::vector<CountedBytes>& counted() const { return counted_; }

 private:
  static constexpr double kPatience_s = 60, kEndless_s = 1e6;  ///< with a case that should take a second
  bool over();
  /// Seconds it took; 0 when there was nothing to do.
  double run(const Job& job);
  std::vector<Job> most_uncertain(const CaseFinder& finder, std::size_t most) const;

  Bench& bench_;
  Tables& tables_;
  LostCases& lost_;
  Progress& progress_;
  kernels::DeviceInfo device_;
  std::optional<double> budget_s_;
  Watchdog watchdog_{device_.emulated ? kEndless_s : kPatience_s, lost_};
  Outcome outcome_;
  std::vector<CountedBytes> counted_;
  std::vector<std::string> failed_;  ///< keys not to be proposed again
};

/// From now on SIGINT and SIGTERM end a collection after the case that is running.
void stop_on_signals();

}  // namespace orrery::profile
