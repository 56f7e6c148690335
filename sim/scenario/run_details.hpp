#pragma once

#include "report/details.hpp"
#include "report/metrics.hpp"
#include "scenario/deployment.hpp"

namespace orrery {

/// details.json of a run (docs/schema/details.schema.json): the verdict, the curves of its latencies, what
/// `details` gathered, and the kernels of its typical steps against the device's roofs.
OrderedJson run_details(const Deployment& deployment, const Summary& summary, const Metrics& metrics,
                        const Details& details);

}  // namespace orrery
