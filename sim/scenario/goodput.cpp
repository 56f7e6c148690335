#include "scenario/goodput.hpp"

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

Goodput find_goodput(const Scenario& scenario, double share) {
  if (scenario.slo.empty())
    throw ConfigError("goodput needs latency thresholds", "--slo 'ttft<=500ms,tpot<=50ms'");
  const Deployment deployment = deploy(scenario);
  Scenario asked = scenario;
  Goodput out;
  const auto meets = [&](double rate) {
    asked.workload.request_rate = rate;
    const Summary s = run_deployed(deployment, asked).summary;
    out.gpus = s.info.all_gpus();
    return s.attainment.value_or(0) >= share;
  };
  double low = 0.25, high = 0.5;
  if (!meets(low)) return out;
  while (meets(high)) low = high, high *= 2;
  while (high / low > 1.02) {
    const double middle = (low + high) / 2;
    (meets(middle) ? low : high) = middle;
  }
  out.rate = low;
  return out;
}

}  // namespace orrery
