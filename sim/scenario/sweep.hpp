#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "report/summary.hpp"
#include "scenario/axis.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// Many runs of one scenario that differ in some settings: all of a grid, or points drawn from it.
struct SweepDesign {
  Assignments base;
  std::vector<Axis> axes;
  std::size_t random = 0;  ///< so many points of the grid, drawn without repetition; 0 = all
  std::uint64_t seed = 0;  ///< of the draw
};

/// One run of a sweep.
struct SweepPoint {
  std::size_t index = 0;            ///< in the order of the design
  std::vector<std::string> values;  ///< one for each axis
  Assignments assignments;          ///< the whole scenario
  /// What a result file is matched by when a sweep is resumed: its values and the base's.
  std::string key() const;
};
std::vector<SweepPoint> sweep_points(const SweepDesign& design);

/// What became of a point.
struct SweepResult {
  std::string status = "ok";  ///< "ok", "failed", "died"
  std::string error;          ///< one sentence, unless ok
  OrderedJson summary;        ///< as `orrery run --json`, when ok
  int attempts = 1;
};
/// Runs one point. Errors of the scenario become its result.
SweepResult run_point(const SweepPoint& point);

/// One line of points.jsonl, and back. Errors: ConfigError naming the line.
std::string to_line(const SweepPoint& point, const SweepResult& result);
/// Results by key from an earlier, interrupted sweep; a last line that is cut off is left out.
std::map<std::string, SweepResult> read_results(const std::string& path);

/// The table of a sweep, in the order of its points: the axes, what became of each point, and the numbers of
/// its summary under vLLM's names.
std::string sweep_csv(const SweepDesign& design, const std::vector<SweepPoint>& points,
                      const std::vector<SweepResult>& results);

}  // namespace orrery
