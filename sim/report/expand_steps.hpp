#pragma once

#include <cstdint>

#include "events/observer.hpp"

namespace orrery {

/// One step of a decode run.
struct DecodeStep {
  std::int64_t index = 0;
  Ps start{0}, duration{0};
};

/// Calls `each` for every step of `run`, in order.
template <class Each>
void expand_steps(const DecodeRun& run, Each&& each) {
  Ps start = run.start, duration = run.first;
  for (std::int64_t j = 0; j < run.steps; ++j) {
    each(DecodeStep{j, start, duration});
    start += duration;
    duration += run.slope;
  }
}

/// How many steps of `run` end before `time`: the largest k <= steps with start + k first + slope k(k-1)/2 <
/// time.
std::int64_t steps_ended_before(const DecodeRun& run, Ps time);

}  // namespace orrery
