#pragma once

#include <array>
#include <map>
#include <string>

#include "cost/kernel_cost_model.hpp"
#include "cost/step_pricer.hpp"

namespace orrery {

/// Standard deviation of each class's common factor: residuals of one class add up over its provenances.
std::map<std::string, double> sigma_by_class(const TimeShares& shares, const KernelCostModel& cost);

/// Standard deviation of log(predicted / true step time), first order in the shares of time. Residuals of one
/// kernel class are one factor common to all its calls, so they add up within a class (over provenances too);
/// classes are independent of each other and of the engine's factor (`engine_sigma`, from held-out servers).
/// 0 shares give engine_sigma alone.
double relative_sigma(const TimeShares& shares, const KernelCostModel& cost, double engine_sigma);

/// Each provenance's part of the kernels' variance, summing to 1 (to 0 when nothing varies): what measuring
/// more would buy.
std::array<double, kProvenanceCount> variance_by_provenance(const TimeShares& shares,
                                                            const KernelCostModel& cost);

/// The z with P(|N(0,1)| <= z) = level: 1.645 for 0.9. An interval of that probability around a value whose
/// logarithm has standard deviation s runs from value * exp(-z s) to value * exp(z s). 0 < level < 1.
double two_sided_z(double level);

}  // namespace orrery
