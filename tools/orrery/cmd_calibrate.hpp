#pragma once

#include <string>
#include <vector>

namespace orrery {

// The verbs of `orrery calibrate` that stand in files of their own. Each returns the exit code.

int calibrate_coverage(const std::vector<std::string>& args);

}  // namespace orrery
