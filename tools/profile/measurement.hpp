#pragma once

#include <optional>
#include <vector>

namespace orrery::profile {

/// What the GPU says about itself; empty where it does not.
struct Readings {
  std::optional<double> power_w, sm_mhz, mem_mhz, temperature_c, energy_j;
  bool idle = false;         ///< clocks are low because nothing runs
  bool slowed_down = false;  ///< by heat or by the power supply, whatever the clock says
};

/// What of a case is wanted beside its time.
struct Extras {
  bool power = false;     ///< a window of launches, to read the power
  bool counters = false;  ///< one launch under hardware counters
};

/// One row: a case, timed.
struct Measurement {
  double time_s = 0;                  ///< median, L2 cold
  std::optional<double> time_warm_s;  ///< median, back to back
  double spread = 0;                  ///< interquartile range / median of the cold samples
  int samples = 0;                    ///< cold ones
  Readings gpu;                       ///< medians of the readings while it ran; power of the power window
  std::optional<double> dram_bytes;   ///< read and written by one cold launch, by hardware counters
  bool throttled = false;             ///< the clock stayed low in spite of repeating
};

}  // namespace orrery::profile
