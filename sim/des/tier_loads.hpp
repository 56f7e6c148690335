#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "des/cluster.hpp"
#include "des/replica.hpp"

namespace orrery {

/// How long sequences wait for KV that lies in lower tiers. Where a cluster has a fabric the blocks are flows
/// on its links, beside all others; else each engine core has a way of its own to its host, and its replica
/// one to each further tier, which serve one load after the other.
class TierLoads {
 public:
  TierLoads(Cluster& cluster, SimulationResult& totals) : cluster_(cluster), totals_(totals) {}

  /// As RequestListener tells of it.
  void on_load(const SequenceHandle& sequence, const KvLoad& load, Ps now);
  /// A replica is another one from now on: what its sequences waited for is nobody's.
  void forget(int replica) { ++lives_[replica]; }

 private:
  using Link = std::tuple<int, int, std::size_t>;  ///< replica, core, tier

  Ps queue_up(const Link& link, double bytes, double bytes_per_s, Ps now);
  void send(const SequenceHandle& sequence, std::size_t tier, double bytes, Ps now, Fabric::Done done);
  void finish(const SequenceHandle& sequence, Ps begun, Ps now);

  Cluster& cluster_;
  SimulationResult& totals_;
  std::map<Link, Ps> free_;   ///< since when
  std::map<int, int> lives_;  ///< by replica, how often it has been replaced
};

}  // namespace orrery
