#pragma once

#include <string>
#include <vector>

#include "plan.hpp"
#include "shapes.hpp"

namespace orrery::profile {

/// Each component's sweep, or its check cases (a dry run), as a queue: what the device cannot run is left
/// out, one case in eight and the largest get a power window and hardware counters. A component weighs as
/// many cases as it has.
std::vector<Queue> sweep_queues(const std::vector<std::string>& components, const kernels::DeviceInfo& device,
                                bool check_cases);
/// One queue of the shapes in a file, in its order. `unserved` receives those no component can measure.
/// Errors: ConfigError.
Queue wanted_queue(const std::string& path, const CaseFinder& finder, std::vector<std::string>& unserved);

}  // namespace orrery::profile
