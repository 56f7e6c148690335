#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/summary.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// A limit on how much worse a run may be: "p99_ttft_ms>+5%", or in the metric's unit "completed<-10".
struct ChangeLimit {
  std::string metric;
  bool above = true;  ///< fails when the change is above the limit; else when below
  double limit = 0;   ///< a share when relative
  bool relative = true;
  std::string text;
};
/// Reads limits separated by commas. Errors: ConfigError (usage).
std::vector<ChangeLimit> parse_limits(const std::string& text);

/// One metric of two runs.
struct Change {
  std::string metric;
  double base = 0, now = 0;
  double noise =
      0;  ///< of the change, as a share: two standard deviations over seeds; 0 = none, or not known
  bool lower_is_better = false, judged = true;  ///< not judged: neither more nor less is better
  double share() const { return base != 0 ? now / base - 1 : 0; }
  /// "better", "worse", "same", or "changed" where neither is better.
  std::string verdict() const;
};

struct Comparison {
  std::vector<Change> changes;
  std::vector<std::string> differs;  ///< settings: "max_num_seqs: 128 -> 256"
  std::vector<std::string> broken;   ///< limits that a change is beyond, noise aside
};

/// Compares summaries under vLLM's names. `limits` may name metrics that are not shown otherwise. Errors:
/// ConfigError for a limit on a metric that a run does not have.
Comparison compare(const OrderedJson& base, const OrderedJson& now, const std::vector<ChangeLimit>& limits);
/// Runs both scenarios again with other seeds, the same for both where theirs are, and fills in the noise of
/// each change. `progress` is told after each run.
void add_noise(Comparison& comparison, const Scenario& base, const Scenario& now, int seeds,
               const std::function<void(int done, int all)>& progress = {});
/// Settings that differ between two manifests' assignments.
std::vector<std::string> setting_changes(const Assignments& base, const Assignments& now);
OrderedJson to_json(const Comparison& comparison);

}  // namespace orrery
