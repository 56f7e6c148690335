#include "backend.hpp"

#include <array>
#include <cstdio>
#include <filesystem>

#include <cuda_runtime_api.h>

#include "base/error.hpp"
#include "cupti_counters.hpp"
#include "cupti_meter.hpp"
#include "event_meter.hpp"

namespace orrery::profile {

bool can_rehearse() {
  return false;
}

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
  return make_cupti_counters(std::make_shared<const CacheEviction>(kernels::device_info()));
}

std::unique_ptr<Counters> make_proven_counters() {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  if (program.find('\'') != std::string::npos)
    return std::make_unique<Counters>("the program's path has a quote in it");
  std::FILE* probe = ::popen(("timeout 40 '" + program + "' --probe-counters 2>/dev/null").c_str(), "r");
  if (probe == nullptr)
    return std::make_unique<Counters>("they could not be tried in a process of their own");
  std::string said;
  for (int c = std::fgetc(probe); c != EOF; c = std::fgetc(probe)) said += static_cast<char>(c);
  const int status = ::pclose(probe);
  while (!said.empty() && said.back() == '\n') said.pop_back();
  if (status == 0) return make_counters();
  return std::make_unique<Counters>(said.empty() ? "a process that tried them died" : said);
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
