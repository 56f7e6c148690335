#pragma once

#include "cost/fit_file.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// Gives `to` the row-wise kernels, collectives and classes without a form of their own that it lacks and
/// `from` has, the rate of row-wise kernels times the ratio of memory bandwidths, those of the last scaled as
/// scaled_fit does. They are marked `scaled_from` and priced as extrapolated.
void borrow_missing(FitFile& to, const DeviceProfile& to_device, const FitFile& from,
                    const DeviceProfile& from_device);

/// Gives `to` what it lacks and an earlier fit of the same device has: classes, formats and rank counts, with
/// their sources, held-out rows, errors, engine kernel factors and energy. Of an error that both know the
/// larger stays.
void keep_missing(FitFile& to, const FitFile& earlier);

}  // namespace orrery::calibrate
