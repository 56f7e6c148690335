#include "calibration/fit.hpp"

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
  fit_layers(device, rows.layers, f);
  f.energy = rows.energy;
  judge(device, rows, f);
  return f;
}

}  // namespace orrery::calibrate
