#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "base/units.hpp"

namespace orrery {

/// How many replicas there should be, by what is seen of those there are.
struct AutoscaleParams {
  enum class Signal : std::uint8_t {
    queue,        ///< requests waiting, per replica
    concurrency,  ///< requests sent and not finished, per replica
    rps,          ///< arrivals a second, per replica
    ttft,         ///< mean seconds to the first token, of those that came since the last look
    kv            ///< share of the KV blocks in use
  };
  int min = 1, max = 1;
  Signal signal = Signal::queue;
  double target = 0;
  Ps interval{std::int64_t{15} * 1000 * 1000 * 1000 * 1000};  ///< between two looks
  /// There are as many as the most that was asked for within this time: fewer come only after it.
  Ps cooldown{std::int64_t{300} * 1000 * 1000 * 1000 * 1000};
  double tolerance = 0.1;  ///< a signal this close to its target changes nothing
};

/// What an autoscaler sees of a cluster.
struct FleetLoad {
  int up = 0;                    ///< replicas that take requests
  int starting = 0;              ///< that will
  std::int64_t waiting = 0;      ///< requests in the replicas' queues and at the router
  std::int64_t outstanding = 0;  ///< those and the running ones
  double arrivals_per_s = 0;     ///< since the last look
  double ttft_s = 0;             ///< mean of those since the last look; 0 = none
  double kv_used = 0;            ///< share
};

/// The rule of Kubernetes' horizontal pod autoscaler (its documentation, "Algorithm details"): replicas are
/// scaled by signal over target, rounded up, unless that is within the tolerance of 1; the most of what was
/// recommended within the cooldown (its stabilisation window for scaling down) is taken.
class Autoscaler {
 public:
  explicit Autoscaler(AutoscaleParams params) : params_(params) {}
  const AutoscaleParams& params() const { return params_; }
  /// Replicas there should be from `now` on.
  int desired(const FleetLoad& load, Ps now);

 private:
  double signal(const FleetLoad& load) const;

  AutoscaleParams params_;
  std::deque<std::pair<Ps, int>> recommended_;  ///< within the cooldown
};

/// "queue", ... Errors: ConfigError naming the valid ones.
AutoscaleParams::Signal parse_autoscale_signal(const std::string& text);

}  // namespace orrery
