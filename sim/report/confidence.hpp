#pragma once

#include "cost/step_pricer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Fills summary.confidence and the intervals of TTFT, TPOT, ITL and E2E from the time shares of a run (sum
/// those of its pricers with add_shares) and the cost model's held-out errors.
///
/// First order: the residuals of a kernel class are one common factor in a run, classes are independent, and
/// so is an engine factor of `engine_log_sigma` (held-out servers); sigma^2 = sum_c (share_c sigma_c)^2 +
/// sigma_engine^2. Queueing amplifies it: a wait scales like S/(1 - rho), so TTFT and E2E use, for the share
/// of their mean that is queueing, 1 + rho/(1 - rho) with rho the busy share of the GPU (capped at 10).
void add_confidence(Summary& summary, const TimeShares& shares, const KernelCostModel& cost,
                    double engine_log_sigma, double level = 0.9);

/// a += b, for runs with several pricers.
void add_shares(TimeShares& a, const TimeShares& b);

}  // namespace orrery
