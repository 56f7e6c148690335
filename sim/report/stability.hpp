#pragma once

#include <cstdint>

#include "report/activity.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Judges whether the queue grew all the time that requests arrived (`arrivals_s` seconds from the origin of
/// `activity`): a least-squares line through the queue's length per second that explains most of it, a growth
/// that matters against what arrived, and a mean that rose from tenth to tenth. Less than 10 s or 50 arrivals
/// are not judged. What is served is counted in the second half of that time, when the server has filled up.
Stability judge_stability(const Activity& activity, std::int64_t arrivals, double arrivals_s, int replicas);

}  // namespace orrery
