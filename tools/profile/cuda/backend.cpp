#include "backend.hpp"

#include <array>

#include <cuda_runtime_api.h>

#include "base/error.hpp"
#include "cupti_meter.hpp"
#include "event_meter.hpp"

namespace orrery::profile {

void require_device() {
  std::string why;
  if (kernels::device_available(&why)) return;
  throw ConfigError(why, "--dry-run (orrery-profile-emulated) rehearses without a GPU", ExitCode::no_device);
}

std::unique_ptr<Meter> make_meter(std::string& note) {
  auto eviction = std::make_shared<const CacheEviction>(kernels::device_info());
  std::string why;
  if (auto meter = make_cupti_meter(eviction, why)) return meter;
  note = why + "; times come from CUDA events";
  return make_event_meter(std::move(eviction));
}

std::unique_ptr<Counters> make_counters() {
  return std::make_unique<Counters>();
}

std::string pci_bus_id() {
  std::array<char, 32> text{};
  int device = 0;
  kernels::check_cuda(cudaGetDevice(&device), "look for a GPU");
  kernels::check_cuda(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), device),
                      "PCI address of the GPU");
  return text.data();
}

}  // namespace orrery::profile
