#pragma once

#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/rng.hpp"
#include "des/cluster.hpp"
#include "des/fleet_config.hpp"
#include "serving/autoscaler.hpp"

namespace orrery {

/// Replicas that come and go: failures and repairs, draining,
/// autoscaling, other splits of the GPUs that are left, cold starts. It says who takes
/// requests, keeps them while nobody does, and sends those of a failed replica again.
class Fleet {
 public:
  /// Errors: ConfigError for an outage or a drain of a replica that does not exist.
  Fleet(const FleetConfig& config, std::uint64_t seed, const CoreContext& context, Cluster& cluster);

  /// Replicas that take requests, ascending.
  const std::vector<int>& up() const { return up_; }
  /// A request comes. False when nobody takes any: it is kept here until somebody does.
  bool admits(const Request& request);
  /// Its first token has left a replica.
  void on_first_token(const Request& request, Ps now);
  /// A request has left its replica, done or refused.
  void on_left(const RequestRecord& record);
  /// There are blocks for a request whose KV cache came with it.
  void on_reserved(const Request& request, const SequenceHandle& sequence, Ps now);
  /// Requests wait, and nobody comes back to take them.
  bool abandoned() const { return !held_.empty(); }

 private:
  struct Held {
    Evacuated begun;
    bool fresh = false;  ///< no replica has seen it
    int heir = -1;       ///< replica that has its KV cache; -1 = none
  };

  ReplicaState state(int replica) const { return states_[static_cast<std::size_t>(replica)]; }
  void enter(int replica, ReplicaState state, Ps now, bool failed = false);
  void fail(int replica, Ps repair, Ps now);
  void start(int replica, Ps now);
  void load_weights(int replica, Ps now);
  void ready(int replica, std::int64_t life, Ps now);
  void drain(int replica, Ps now);
  void stop_if_drained(int replica, Ps now);
  void plan_remesh(const Remesh& remesh);
  void stop_for(const Remesh& remesh, Ps now);
  Ps migrate(const Remesh& remesh, std::vector<std::vector<Evacuated>>& lost, Ps now);
  void look(Ps now);
  FleetLoad load() const;
  void scale_up(Ps now);
  void scale_down(Ps now);
  void await_failure(int replica, Ps now);
  void send_again(Evacuated begun, int from, Ps now);
  void give_up(const Evacuated& begun, int from, Ps now);
  void place(const Held& held, Ps now);

  const FleetConfig& config_;
  CoreContext context_;
  Cluster& cluster_;
  std::vector<ReplicaState> states_;
  std::vector<std::int64_t>
      lives_;  ///< by replica, starts and ends of its lives: tells what belongs to which
  std::vector<int> up_;
  std::vector<bool> repaired_;  ///< by replica, comes back by itself
  std::vector<Rng> failures_;   ///< by replica
  std::deque<Held> held_;
  std::unordered_map<RequestId, Prefilled> kept_;  ///< of those whose KV cache waits for blocks
  std::optional<Autoscaler> autoscaler_;
  /// Since the autoscaler's last look.
  struct Seen {
    std::int64_t arrivals = 0, first_tokens = 0;
    double ttft_s = 0;  ///< their sum
  };
  Seen seen_;
  std::unordered_map<RequestId, int> retries_;  ///< of those sent again and not done
};

}  // namespace orrery
