#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/fit_file.hpp"
#include "cost/kernel_cost_model.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// Prices every held-out row with the fit as a simulation would, and fills `fit.held_out` (per class, format
/// and region) and `fit.errors` (per class, over the region that serving visits).
void judge(const DeviceProfile& device, const KernelRows& rows, FitFile& fit);

/// The errors of any model on all rows, none of which it has seen: by class, format and region, and by class.
struct Judgement {
  std::vector<HeldOut> regions;
  std::map<std::string, ClassError> errors;
};
Judgement judge_all(const DeviceProfile& device, const KernelRows& rows, const KernelCostModel& model);

}  // namespace orrery::calibrate
