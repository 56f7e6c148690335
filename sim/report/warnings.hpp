#pragma once

#include "report/summary.hpp"

namespace orrery {

/// Appends what a reader of the numbers must know: an unstable run, percentiles from too few requests (fewer
/// than ten beyond them), failed requests.
void add_warnings(Summary& summary);

}  // namespace orrery
