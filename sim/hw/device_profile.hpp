#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/sourced.hpp"
#include "base/units.hpp"
#include "ops/dtype.hpp"

namespace orrery {

/// One accelerator, from hwprofiles/<name>/device.json. Every figure carries its source; peaks are dense.
struct DeviceProfile {
  std::string name;                  ///< "h100-sxm"
  std::vector<std::string> aliases;  ///< "h100"
  std::string vendor;                ///< "nvidia"
  std::string architecture;          ///< "hopper": data for fits and engine defaults, never branched on
  std::array<double, kDTypeCount> tensor_flops_per_s{};  ///< dense peak by DType; 0 = the matrix units cannot
  double vector_flops_per_s = 0;                         ///< fp32, ordinary units
  double memory_bandwidth_bytes_per_s = 0;
  double memory_bytes = 0;  ///< what the driver reports, not the datasheet's round figure
  double l2_bytes = 0;
  int sm_count = 0;
  double nvlink_bytes_per_s = 0;  ///< per direction, all links of one GPU; 0 = none
  double pcie_bytes_per_s = 0;    ///< per direction
  double tdp_watts = 0, idle_watts = 0;
  std::optional<double> usd_per_hour;
  std::string folder;                  ///< where fit.json and measured/ lie
  std::vector<SourcedFigure> figures;  ///< every figure above with its source, for `orrery gpus show`

  double tensor_peak(DType t) const { return tensor_flops_per_s[static_cast<std::size_t>(t)]; }
};

/// How the GPUs of one server are joined, from hwprofiles/nodes/*.json.
struct Topology {
  std::string name;  ///< "dgx-h100"
  std::string device;
  int gpus_per_node = 8;
  double gpu_link_bytes_per_s = 0;  ///< per GPU and direction inside the node (NVLink, else PCIe)
  bool all_to_all = true;           ///< through a switch: every pair at full rate
  double nic_bytes_per_s = 0;       ///< per GPU to other nodes
  std::string host;                 ///< the computer around them (hw/host_profile.hpp); "" = not known
};

/// Finds a device by name or alias, ignoring case and '_' for '-'. Searches `ORRERY_DATA` (or the installed
/// or source data folder)/hwprofiles; a path to a folder with device.json is taken as it is. Errors:
/// ConfigError with near names.
DeviceProfile load_device(const std::string& name_or_path);
std::vector<DeviceProfile> list_devices();
/// The node that holds `gpus` of `device`: a named topology of that device, else PCIe peers.
Topology topology_for(const DeviceProfile& device);

}  // namespace orrery
