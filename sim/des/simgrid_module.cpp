#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>

#include "base/error.hpp"
#include "des/flow_model.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

/// Beside the build, beside an installed program, or where it was installed; "" = nowhere.
fs::path find_module() {
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& folder : {fs::path(ORRERY_BUILT_MODULES), self, self.parent_path() / "lib" / "orrery",
                                 fs::path(ORRERY_INSTALLED_MODULES)}) {
    if (fs::exists(folder / ORRERY_SIMGRID_MODULE, ignored)) return folder / ORRERY_SIMGRID_MODULE;
  }
  return {};
}

void* open_module() {
  const fs::path file = find_module();
  if (file.empty()) {
    throw ConfigError("the contended fabric is not built in: SimGrid was not found when Orrery was compiled",
                      "install libsimgrid-dev and build again, or --fabric uncontended", ExitCode::no_device);
  }
  if (void* module = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return module;
  throw ConfigError(std::string("the contended fabric cannot be loaded: ") + dlerror(),
                    "install libsimgrid, or --fabric uncontended", ExitCode::no_device);
}

/// SimGrid is loaded when the first scenario has flows: it takes 17 ms to start and exports MPI's symbols.
FlowModel* make_simgrid_flows(std::span<const double> rates) {
  using Make = FlowModel* (*)(const double* rates, std::size_t links);
  static void* const module = open_module();
  const auto make = reinterpret_cast<Make>(dlsym(module, "orrery_make_simgrid_flows"));
  ORRERY_CHECK(make, "the module of the contended fabric lacks its entry");
  if (FlowModel* flows = make(rates.data(), rates.size())) return flows;
  throw ConfigError("one contended fabric at a time in a process: SimGrid has a single engine",
                    "run the other simulation in a process of its own, or --fabric uncontended");
}

const Registration<FlowModels> simgrid{
    "simgrid", "transfers share links max-min fairly, simulated by SimGrid", make_simgrid_flows};

}  // namespace

bool contended_fabric_built_in() {
  return !find_module().empty();
}

}  // namespace orrery
