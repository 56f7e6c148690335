// Uses the installed library: a registered name must be there (nothing here refers to the object that
// registers it), and the installed data must be found.
#include <cstdio>

#include "base/registry.hpp"
#include "base/version.hpp"
#include "cost/kernel_cost_model.hpp"
#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"

int main() {
  const auto model = orrery::load_model("llama-3.1-8b");
  const auto device = orrery::load_device("h100-sxm");
  const auto& roofline = orrery::Registry<orrery::CostModels>::find("roofline");
  std::printf("orrery %s: %s has %.0f parameters; %s has %.1f GiB; cost model %s\n", orrery::kVersion,
              model.name.c_str(), model.parameters(), device.name.c_str(), device.memory_bytes / orrery::kGiB,
              roofline.name.c_str());
  return model.parameters() > 8.0e9 && model.parameters() < 8.1e9 ? 0 : 1;
}
