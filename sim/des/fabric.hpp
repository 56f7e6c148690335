#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "des/flow_model.hpp"
#include "hw/cluster_topology.hpp"

namespace orrery {

/// What replicas share and contend for: links between GPUs, hosts, drives and servers. Collectives inside a
/// step are priced, not simulated. Driven from outside: the simulation asks when the next transfer ends,
/// bounded by its own next event, since whatever it does then may slow that transfer down.
///
/// Links carry AlphaBeta's share of their wire rate, and the last byte comes one hop's latency after it left:
/// those of collectives, which `orrery validate fabric` compares with this.
class Fabric {
 public:
  using Done = std::function<void(Ps)>;

  /// `flows` is a name of Registry<FlowModels>.
  Fabric(ClusterTopology topology, const std::string& flows);

  const ClusterTopology& topology() const { return topology_; }
  /// Starts moving `bytes` at `now`; `done` is called when the last one has come.
  void transfer(const Endpoint& from, const Endpoint& to, Bytes bytes, Ps now, Done done);
  /// The same split evenly over GPUs side by side: `sources` from `first_source` on to `targets` from
  /// `first_target` on, each sending what its counterparts hold of it.
  void transfer_sharded(int first_source, int sources, int first_target, int targets, Bytes bytes, Ps now,
                        Done done);
  /// When the next transfer ends, if that is not after `horizon`; else kNever. Nothing may be started before
  /// `horizon` but at that time or after it.
  Ps next_event(Ps horizon);
  /// Calls back what ends at `now`, which is next_event().
  void advance(Ps now);

  int in_flight() const { return static_cast<int>(pending_.size() + arriving_.size()); }
  double bytes_started() const { return bytes_started_; }
  double bytes_delivered() const { return bytes_delivered_; }
  std::int64_t transfers() const { return transfers_; }
  /// Bytes that have been sent over each link of the topology.
  const std::vector<double>& carried() const { return carried_; }

 private:
  struct Transfer {
    std::vector<int> links;
    double bytes = 0;
    Ps latency{0};
    Done done;
  };
  struct Arrival {
    Ps time;
    std::uint64_t id;
    bool operator>(const Arrival& o) const { return time != o.time ? time > o.time : id > o.id; }
  };

  void land(std::uint64_t id, Ps time);

  ClusterTopology topology_;
  std::unique_ptr<FlowModel> flows_;
  std::vector<Transfer> slots_;  ///< by id
  std::vector<std::uint64_t> spare_;
  std::vector<std::uint64_t> pending_;                                           ///< flows under way
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> arriving_;  ///< sent, not yet there
  std::vector<std::uint64_t> ended_;
  std::vector<double> carried_;
  double bytes_started_ = 0, bytes_delivered_ = 0;
  std::int64_t transfers_ = 0;
};

}  // namespace orrery
