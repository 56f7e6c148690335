#pragma once

#include <string>
#include <vector>

#include "cost/fit_file.hpp"

namespace orrery::calibrate {

/// The page docs/accuracy-kernels.md: every fit's held-out errors by class and region, beside what was aimed
/// for.
std::string accuracy_page(const std::vector<FitFile>& fits);

}  // namespace orrery::calibrate
