#pragma once

#include <string>
#include <vector>

#include "cost/fit_file.hpp"
#include "cost/scaled.hpp"

namespace orrery::calibrate {

/// The page docs/accuracy-kernels.md: every fit's held-out errors by class and region, beside what was aimed
/// for; and how far a fit scaled to another device is off on that one's tables.
std::string accuracy_page(const std::vector<FitFile>& fits, const std::vector<TransferError>& transfers);

}  // namespace orrery::calibrate
