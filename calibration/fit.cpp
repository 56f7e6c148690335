#include "calibration/fit.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "calibration/judge.hpp"

namespace orrery::calibrate {

FitFile fit(const DeviceProfile& device, const KernelRows& rows) {
  if (rows.sources.empty()) {
    throw ConfigError("none of these files is a kernel table that can be fitted",
                      "calibration/README.md lists the columns of each kind");
  }
  FitFile f;
  f.device = device.name;
  f.sm_count = device.sm_count;
  f.sources = rows.sources;
  if (!rows.gemm.empty()) f.gemm = fit_gemms(device, rows.gemm);
  f.prefill = fit_prefill(device, rows.prefill);
  f.decode = fit_decode(device, rows.decode);
  f.collectives = fit_collectives(rows.collectives);
  f.row_kernels = fit_row_kernels(device, rows.row_kernels);
  f.generic = fit_generic(device, rows.generic);
  judge(device, rows, f);
  return f;
}

void borrow_missing(FitFile& to, const DeviceProfile& to_device, const FitFile& from,
                    const DeviceProfile& from_device) {
  const auto lacks = [](const auto& fits, const std::string& cls) {
    return std::none_of(fits.begin(), fits.end(), [&](const auto& f) { return f.kernel_class == cls; });
  };
  const double faster = to_device.memory_bandwidth_bytes_per_s / from_device.memory_bandwidth_bytes_per_s;
  const auto own_rows = to.row_kernels;
  for (auto r : from.row_kernels) {
    if (!lacks(own_rows, r.kernel_class) || !r.scaled_from.empty()) continue;
    r.bytes_per_s *= faster;
    r.scaled_from = from.device;
    to.row_kernels.push_back(r);
  }
  const auto own_collectives = to.collectives;
  for (auto c : from.collectives) {
    if (!lacks(own_collectives, c.kernel_class) || !c.scaled_from.empty()) continue;
    c.scaled_from = from.device;
    to.collectives.push_back(c);
  }
  for (const auto& [cls, error] : from.errors) {
    if (!to.errors.contains(cls)) to.errors[cls] = error;  // widened when priced: extrapolated
  }
}

}  // namespace orrery::calibrate
