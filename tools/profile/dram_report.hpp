#pragma once

#include <string>
#include <vector>

namespace orrery::profile {

/// One launch's device-memory traffic: as sim/ops counts it, and as hardware counters saw it.
struct CountedBytes {
  std::string cls;
  double work_bytes = 0, dram_bytes = 0;
};

/// Per class the median and the 90th percentile of DRAM bytes over counted bytes: above 1 a kernel reads
/// operands more than once or spills, below 1 part of the traffic stayed in the L2. Prints nothing without
/// rows.
void print_dram_report(const std::vector<CountedBytes>& rows);

}  // namespace orrery::profile
