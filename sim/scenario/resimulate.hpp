#pragma once

#include "scenario/run_scenario.hpp"

namespace orrery {

/// Replaces a run's first-order intervals by those of `runs` simulations with perturbed step times: each
/// kernel class by one factor exp(N(0, sigma)) for the whole run, sigma from the shapes held out of its fit,
/// and everything by the engine's factor. Arrivals and lengths stay the same (common random numbers) and the
/// factors are a Latin hypercube, so that few runs suffice. Needed near saturation, where a percentile is no
/// longer proportional to a step. Runs on up to two threads; the result does not depend on how many.
void resimulate_intervals(RunResult& result, const Deployment& deployment, const Scenario& scenario,
                          const TimeShares& shares, int runs);

}  // namespace orrery
