#pragma once

#include "cost/step_pricer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Fills summary.confidence and the intervals of TTFT, TPOT, ITL and E2E from the time shares of a run (sum
/// those of its pricers with add_shares) and the cost model's held-out errors.
///
/// First order (cost/intervals.hpp): a metric made of step times has the relative error of a step, with
/// `engine_log_sigma` the engine's part of it. TTFT's front end has none. Time in the queue has more in an
/// open loop: a wait like rho/(1 - rho) changes 1/(1 - rho) times as much as the step time (capped at 10),
/// rho being the occupancy of the busiest of what a request waits for: GPU time for prompts, batch slots, KV
/// blocks. Throughput follows the step time where the server sets the pace: in closed loops, beyond
/// saturation, and after the last arrival.
void add_confidence(Summary& summary, const TimeShares& shares, const KernelCostModel& cost,
                    double engine_log_sigma, double level = 0.9);

/// a += b, for runs with several pricers.
void add_shares(TimeShares& a, const TimeShares& b);

}  // namespace orrery
