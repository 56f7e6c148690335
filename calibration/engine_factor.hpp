#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/fit_file.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// Per class that `fit` has from our own rows: the median of (published time / time of ours) over the
/// published rows inside the range of ours, where the fit interpolates ours. Collectives are left out: both
/// run the same libraries. Classes with fewer than 20 common shapes get no factor.
EngineKernelFactors engine_factors(const DeviceProfile& device, const FitFile& fit,
                                   const KernelRows& published);

}  // namespace orrery::calibrate
