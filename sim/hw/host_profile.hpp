#pragma once

#include <string>
#include <vector>

#include "base/sourced.hpp"

namespace orrery {

/// The computer around a node's accelerators, from hwprofiles/hosts/<name>.json: where weights and KV cache
/// go that device memory does not hold, and what computes on them there. Figures are of the whole computer.
struct HostProfile {
  std::string name;  ///< "dual-xeon-8480c"
  int cores = 0;
  double flops_per_s = 0;  ///< fp32 peak of all cores' vector units
  double memory_bandwidth_bytes_per_s = 0;
  double memory_bytes = 0;
  double disk_read_bytes_per_s = 0, disk_write_bytes_per_s = 0;  ///< 0 = no disk to offload to
  double disk_bytes = 0;
  std::vector<SourcedFigure> figures;  ///< every figure above with its source
};

/// Finds a host by name, or by the path of its file. Errors: ConfigError with near names.
HostProfile load_host(const std::string& name_or_path);
std::vector<std::string> list_hosts();

}  // namespace orrery
