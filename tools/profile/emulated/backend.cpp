#include "backend.hpp"

#include "base/error.hpp"

namespace orrery::profile {

bool can_rehearse() {
  return true;
}

void require_device() {
  throw ConfigError(
      "this build has no CUDA kernels, so there is nothing to measure with",
      "build with nvcc (cmake --preset cuda) on a machine with an NVIDIA GPU; --dry-run rehearses without",
      ExitCode::no_device);
}

std::unique_ptr<Meter> make_meter(std::string&) {
  require_device();
  return nullptr;
}

std::unique_ptr<Counters> make_counters() {
  return std::make_unique<Counters>();
}

std::unique_ptr<Counters> make_proven_counters() {
  return make_counters();
}

std::string pci_bus_id() {
  return {};
}

}  // namespace orrery::profile
