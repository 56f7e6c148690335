#pragma once

#include <vector>

#include "calibration/kernel_rows.hpp"
#include "cost/measured_table.hpp"

namespace orrery::calibrate {

/// All rows of published tables (each with one source) and of our own measurements. Ours replace the
/// published of the same class and formats where they are enough to fit; else they are left to the `measured`
/// cost model, and a note says so.
KernelRows merged(const std::vector<KernelRows>& published, const std::vector<MeasuredTable>& own);

}  // namespace orrery::calibrate
