#pragma once

#include "calibration/kernel_rows.hpp"
#include "cost/fit_file.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// Fits every kernel class the rows hold, on the rows that are not held out, and records the errors on those
/// that are. Deterministic; some seconds to half a minute. Errors: ConfigError when the rows hold nothing to
/// fit.
FitFile fit(const DeviceProfile& device, const KernelRows& rows);

// The parts, one per kernel form.
std::vector<GemmFit> fit_gemms(const DeviceProfile& device, const std::vector<GemmRow>& rows);
/// One fit per format of the KV cache.
std::vector<PrefillFit> fit_prefill(const DeviceProfile& device, const std::vector<AttentionRow>& rows);
std::vector<DecodeFit> fit_decode(const DeviceProfile& device, const std::vector<AttentionRow>& rows);
/// On all rows but those of one fold (-1: all rows): their tables are too small to set a fifth aside for
/// good.
std::vector<CollectiveFit> fit_collectives(const std::vector<CollectiveRow>& rows, int without_fold = -1);
std::vector<RowKernelFit> fit_row_kernels(const DeviceProfile& device, const std::vector<RowKernelRow>& rows);

/// GenericForm and a surface over the dimensions that explain most of what it leaves, per class and formats.
std::vector<GenericFit> fit_generic(const DeviceProfile& device, const std::vector<GenericRow>& rows);
/// The same for rows of one class and pair of formats, all of which are fitted. `launch_s` > 0: the launch is
/// known and not fitted.
GenericFit fit_generic_rows(const DeviceProfile& device, const std::vector<GenericRow>& rows,
                            double launch_s = 0);
/// The rows of each class and pair of formats.
std::vector<std::vector<GenericRow>> generic_groups(const std::vector<GenericRow>& rows);

/// Adds to `fit`, whose other classes are fitted already, those that timings of whole layers tell of. What
/// the prices of a row's other kernels leave is divided over the target's calls in the ratio of their
/// rooflines.
void fit_layers(const DeviceProfile& device, const std::vector<LayerRow>& rows, FitFile& fit);
/// The rows of each target and pair of formats that tell of their kernels. Of rows launched by the host,
/// those whose kernels take longer than a launch at the datasheet's speed of light: a launch is the median of
/// the quickest quarter.
std::vector<std::vector<LayerRow>> layer_groups(const DeviceProfile& device,
                                                const std::vector<LayerRow>& rows);

}  // namespace orrery::calibrate
