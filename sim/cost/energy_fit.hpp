#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ops/dtype.hpp"

namespace orrery {

/// Energy of a kernel on one device: joules = idle_w x time + the joules of its FLOPs, by format of the
/// matrix units, + the joules of its DRAM bytes. Board power, linear in what is done (the model of Hong and
/// Kim, An integrated GPU power and performance model, ISCA 2010, reduced to three terms).
struct EnergyFit {
  double idle_w = 0;
  std::array<double, kDTypeCount> tensor_j_per_flop{};  ///< 0 = not measured, or hidden in the other terms
  double vector_j_per_flop = 0;
  double dram_j_per_byte = 0;
  std::int64_t rows = 0;
  double median_abs = 0, p90_abs = 0;  ///< of |predicted / measured - 1| over those rows
  std::string source;
};

}  // namespace orrery
