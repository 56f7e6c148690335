#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cost/measured_table.hpp"
#include "hw/device_profile.hpp"

namespace orrery::calibrate {

/// How near the timed launches of one implementation come to the datasheet: the time of its Work at peak
/// rates and full bandwidth over the time it took. Above 1 where data sat in cache.
struct LightFraction {
  std::string kernel_class, formats, variant;  ///< formats: "bf16", "bf16 x int4"
  std::int64_t rows = 0;
  double at_large = 0;  ///< median over the tenth of its rows with the longest time at the speed of light
  double best = 0;
};

/// One entry per class, formats and variant, sorted by name. Rows that do nothing that a datasheet bounds
/// (launches) are left out.
std::vector<LightFraction> fractions_of_light(const std::vector<MeasuredTable>& tables,
                                              const DeviceProfile& device, const Topology& topology);

}  // namespace orrery::calibrate
