#include <filesystem>

#include "cost/fitted.hpp"
#include "cost/measured.hpp"
#include "cost/roofline.hpp"

namespace orrery {

KernelCostModelPtr best_cost_model(const DeviceProfile& device, const Topology& topology) {
  namespace fs = std::filesystem;
  KernelCostModelPtr best = fs::exists(device.folder + "/fit.json") ? make_fitted(device, topology, "")
                                                                    : make_analytic(device, topology);
  if (has_measured_rows(device.folder + "/measured")) {
    best = make_measured(device.folder + "/measured", best);
  }
  return best;
}

}  // namespace orrery
