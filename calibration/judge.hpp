#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/fit_file.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// Prices every held-out row with the fit as a simulation would, and fills `fit.held_out` (per class, format
/// and region) and `fit.errors` (per class, over the region that serving visits).
void judge(const DeviceProfile& device, const KernelRows& rows, FitFile& fit);

}  // namespace orrery::calibrate
