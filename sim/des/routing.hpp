#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "des/replica.hpp"
#include "serving/router.hpp"

namespace orrery {

/// What routers see of a cluster's replicas, and whom they choose. Requests enter by those that do all or
/// prefill, which come first; the others decode.
class Routing {
 public:
  /// `replicas` are there for as long as this is, and may be made anew.
  Routing(const ClusterConfig& cluster, const std::vector<std::unique_ptr<Replica>>& replicas);

  /// Replicas that requests enter by.
  std::size_t entry() const { return entry_; }
  /// One of those; of `some` of them only, where not all take requests.
  int choose(const Request& request, Ps now);
  int choose_among(const std::vector<int>& some, const Request& request, Ps now);
  /// One of those that decode.
  int choose_decode(const Request& request, Ps now);

  /// A request goes to a replica; has left it.
  void enter(int replica, const Request& request) { count(replica, request, 1); }
  void leave(int replica, const Request& request) { count(replica, request, -1); }
  /// A replica is empty again.
  void renewed(int replica);
  std::int64_t outstanding(int replica) const {
    return views_[static_cast<std::size_t>(replica)].outstanding_requests;
  }

 private:
  std::span<const ReplicaView> look(Ps now);
  int route(Router& router, std::span<const ReplicaView> pool, const Request& request) const;
  void count(int replica, const Request& request, int sign);

  const ClusterConfig& cluster_;
  const std::vector<std::unique_ptr<Replica>>& replicas_;
  std::unique_ptr<Router> router_, decode_router_;
  bool reads_kv_ = false, reads_freeness_ = false;
  std::size_t entry_ = 0;
  std::vector<ReplicaView> views_, snapshot_, some_views_;
  Ps look_again_{0};  ///< when the snapshot is out of date
};

}  // namespace orrery
