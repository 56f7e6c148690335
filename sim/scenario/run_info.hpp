#pragma once

#include <string>

#include "report/summary.hpp"
#include "scenario/deployment.hpp"

namespace orrery {

/// Whether a trace is one of those drawn from published statistics, "builtin:...".
bool is_builtin(const std::string& trace);

/// What is run, as a reader of the numbers needs it.
RunInfo run_info(const Scenario& scenario, const Deployment& deployment);

}  // namespace orrery
