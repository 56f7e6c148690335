#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scenario/live_steps.hpp"
#include "scenario/validate_replay.hpp"

namespace orrery {

/// A number of the runs: measured (their mean), predicted, and how far the runs are apart.
struct LiveRow {
  ReplayRow row;
  double spread = 0;          ///< half the runs' range, relative to their mean; 0 for one run
  std::optional<double> aim;  ///< how far off it may be (issue: the machine it was calibrated on)

  bool met() const { return !aim || std::abs(row.error()) <= *aim; }
};

/// What the host and the launches cost, as the engine's version file should state it.
struct MeasuredOverheads {
  double host_ms = 0;  ///< mean time to plan and launch a step
  double gap_ms = 0;   ///< mean idle time of the device between steps under way
  /// Decode steps from CUDA graphs: the mean of duration - time on the device.
  double outside_device_ms = 0;
};

/// Live runs of one scenario against its simulation.
struct LiveReport {
  std::vector<std::string> runs;  ///< their folders
  std::string device;             ///< as the manifest names it
  Summary predicted;
  std::vector<LiveRow> rows;
  std::vector<StepGroup> steps;
  std::vector<ReplaySlice> slices;  ///< of all runs' requests together; empty when one failed
  MeasuredOverheads overheads;
  std::vector<std::string> notes, warnings;

  bool met() const;  ///< every aim is
};

/// Reads run directories of orrery-live (manifest.json, summary.json, requests.csv, steps.csv), simulates
/// their scenarios, and prices each of their steps: one report per scenario, over its runs. `overrides` are
/// applied to what is simulated (another cost model, another version of the engine's file). Errors:
/// ConfigError for a folder that is no live run.
std::vector<LiveReport> validate_live(const std::vector<std::string>& folders,
                                      const Assignments& overrides = {});

OrderedJson to_json(const LiveReport& report);

}  // namespace orrery
