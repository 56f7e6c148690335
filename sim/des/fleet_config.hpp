#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.hpp"
#include "serving/autoscaler.hpp"

namespace orrery {

/// What becomes of the requests of a replica that fails.
enum class RetryPolicy : std::uint8_t {
  resume,   ///< sent again with what was streamed so far, which is computed again as part of the prompt
  restart,  ///< sent again from the beginning; what was streamed is thrown away
  none      ///< they fail
};

/// A replica fails at `start` and is repaired after `repair`; then it starts anew.
struct Outage {
  int replica = 0;
  Ps start{0}, repair{0};
};

/// A replica takes no more requests from `start` on and stops when it has none.
struct Drain {
  int replica = 0;
  Ps start{0};
};

/// What passes before a replica that is started takes requests.
struct ColdStart {
  Ps boot{0};                ///< of its instance
  Ps image{0};               ///< until its engine's process runs
  double weights_bytes = 0;  ///< over all its GPUs; from the storage of the fabric, where there is one, ...
  double weights_bytes_per_s = 0;  ///< ... else at this rate; 0 = they are there
  Ps capture{0};                   ///< of CUDA graphs, and what else follows the weights
};

/// Replicas that come and go.
struct FleetConfig {
  int initial = 0;  ///< there from the beginning, the first ones; 0 = all
  std::vector<Outage> outages;
  double mtbf_s = 0;  ///< mean time between failures of a replica, exponential; 0 = none but `outages`
  double mttr_s = 0;  ///< mean time to repair it, exponential
  std::vector<Drain> drains;
  std::optional<AutoscaleParams> autoscale;
  ColdStart cold_start;
  RetryPolicy retry = RetryPolicy::resume;
  int max_retries = 3;  ///< of a request; it fails with the next
  Ps retry_delay{0};    ///< until a lost replica is noticed
};

}  // namespace orrery
