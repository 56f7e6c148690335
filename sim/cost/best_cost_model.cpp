#include <filesystem>

#include "cost/fitted.hpp"
#include "cost/measured.hpp"
#include "cost/scaled.hpp"

namespace orrery {

KernelCostModelPtr best_cost_model(const DeviceProfile& device, const Topology& topology) {
  if (has_measured_rows(device.folder + "/measured")) {
    return make_measured(device, topology, "", Kernels::of_engines);
  }
  return std::filesystem::exists(device.folder + "/fit.json") ? make_fitted(device, topology, "")
                                                              : make_unmeasured(device, topology);
}

}  // namespace orrery
