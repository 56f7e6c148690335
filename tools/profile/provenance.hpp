#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "hw/device_profile.hpp"
#include "measurement.hpp"
#include "runtime/runtime.hpp"

namespace orrery::profile {

/// What rows were measured with, as one line: device, driver, CUDA versions, clocks, host kernel, revision of
/// the sources, time of day, timer.
std::string provenance_line(const kernels::DeviceInfo& device, const Readings& clocks,
                            const std::string& driver, std::string_view timer);

/// The device of hwprofiles/ that this GPU is: by its name, its number of SMs and its memory.
std::optional<DeviceProfile> profile_of(const kernels::DeviceInfo& device);

/// "NVIDIA H200" -> "nvidia-h200".
std::string slug(const std::string& name);

}  // namespace orrery::profile
