#pragma once

#include <optional>
#include <vector>

#include "cost/energy_fit.hpp"
#include "cost/measured_table.hpp"

namespace orrery::calibrate {

/// Coefficients of at least 0 that minimise the squared relative errors of the joules of all rows with a
/// power (power_w x time_s): non-negative least squares, by active set (Lawson and Hanson, Solving Least
/// Squares Problems, 1974, chapter 23). DRAM bytes are the counters' where recorded, else those the class
/// counts. Nothing where fewer than 30 rows tell their power.
std::optional<EnergyFit> fit_energy(const std::vector<MeasuredTable>& tables);

}  // namespace orrery::calibrate
