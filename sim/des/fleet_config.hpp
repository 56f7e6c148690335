#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/units.hpp"
#include "serving/autoscaler.hpp"
#include "serving/device_mapping.hpp"

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

/// Replicas give way to others, because GPUs are taken away or come: those left are split otherwise.
struct Remesh {
  Ps notice{0};
  Ps grace{0};                ///< after the notice; then GPUs that are taken away are gone
  std::vector<int> from, to;  ///< replicas that stop, and that take over, by their number in the meshes
  Mesh before, after;
  std::vector<int> held;  ///< as Remeshing's
};

/// What a fleet does then.
enum class RemeshPolicy : std::uint8_t {
  migrate,  ///< SpotServe: weights and KV caches move as little as they can, and what is computed stays so
  restart   ///< the engines begin anew, and so do the requests
};

/// Replicas that come and go.
struct FleetConfig {
  int initial = 0;  ///< there from the beginning, the first ones; 0 = all
  std::vector<Outage> outages;
  double mtbf_s = 0;  ///< mean time between failures of a replica, exponential; 0 = none but `outages`
  double mttr_s = 0;  ///< mean time to repair it, exponential
  std::vector<Drain> drains;
  std::optional<AutoscaleParams> autoscale;
  std::vector<Remesh> remeshings;
  RemeshPolicy remesh_policy = RemeshPolicy::migrate;
  double migration_bytes_per_s = 0;        ///< into one GPU
  std::function<double(Tokens)> kv_bytes;  ///< that so many tokens of a sequence take, over all ranks
  ColdStart cold_start;
  RetryPolicy retry = RetryPolicy::resume;
  int max_retries = 3;  ///< of a request; it fails with the next
  Ps retry_delay{0};    ///< until a lost replica is noticed
};

}  // namespace orrery
