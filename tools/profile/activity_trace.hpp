#pragma once

#include <cstdint>
#include <vector>

#include "component.hpp"

namespace orrery::profile {

/// One thing the GPU did, in nanoseconds of its clock.
struct ActivityRecord {
  enum class Kind : std::uint8_t { marker, kernel, set, copy } kind = Kind::kernel;
  std::uint64_t start = 0, end = 0;
};

/// The seconds of each launch in a trace (in any order) where every launch follows one marker. A launch may
/// leave several records: split kernels, memsets, copies.
/// Errors: MeterError when there are not `launches` markers, or a launch has no record that `timing` counts.
std::vector<double> seconds_per_launch(std::vector<ActivityRecord> trace, kernels::Timing timing,
                                       int launches);

}  // namespace orrery::profile
