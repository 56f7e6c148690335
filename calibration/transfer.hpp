#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/scaled.hpp"

namespace orrery::calibrate {

/// How far the fit of `from`, scaled to `to` by datasheet ratios, is off on rows of `to`. Classes that `from`
/// itself borrowed from `to` are left out: they would judge themselves; so are those without a form of their
/// own that it lacks: nothing would be scaled.
TransferError judge_transfer(const DeviceProfile& from, const DeviceProfile& to, KernelRows rows);

}  // namespace orrery::calibrate
