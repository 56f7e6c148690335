#pragma once

#include <cstdint>
#include <vector>

#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// What became of replicas that come and go, and of the requests of those that failed.
struct FleetSummary {
  int replicas = 0;                                  ///< that there can be
  std::int64_t failures = 0, starts = 0, stops = 0;  ///< stops: drained, or no longer wanted
  double mean_up = 0;                                ///< replicas, over the run
  int least_up = 0, most_up = 0;
  double up_s = 0, starting_s = 0, draining_s = 0, down_s = 0;  ///< summed over replicas
  std::int64_t retries = 0, retried_requests = 0;
  Tokens tokens_kept = 0;       ///< that had been streamed by replicas that failed, and count
  Tokens tokens_discarded = 0;  ///< and that were thrown away
  std::vector<double> billed_by_replica_s;
  /// Replica-seconds that are paid for: all but those that a replica is down.
  double billed_s() const { return up_s + starting_s + draining_s; }
};
OrderedJson to_json(const FleetSummary& summary);

/// Keeps the states of replicas and the retries of requests.
class FleetLog final : public Observer {
 public:
  void on_replica(const ReplicaChange& change) override;
  void on_retry(const Retry& retry) override;
  void on_end(Ps end) override;
  const FleetSummary& summary() const { return sums_; }

 private:
  struct Since {
    ReplicaState state = ReplicaState::down;
    Ps time{0};
  };
  void count_up(int change, Ps now);
  void leave(std::size_t replica, Ps now);

  FleetSummary sums_;
  std::vector<Since> since_;  ///< by replica
  std::vector<RequestId> retried_;
  int up_ = 0;
  Ps up_since_{0};
};

}  // namespace orrery
