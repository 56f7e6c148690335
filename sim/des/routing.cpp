#include "des/routing.hpp"

#include "des/migration.hpp"

namespace orrery {

namespace {

/// Caches of the replicas that a router chooses from.
class Probe final : public PrefixProbe {
 public:
  Probe(const std::vector<std::unique_ptr<Replica>>& replicas, std::span<const ReplicaView> pool)
      : replicas_(replicas), pool_(pool) {}
  Tokens cached_tokens(int index, const Request& request) const override {
    const int replica = pool_[static_cast<std::size_t>(index)].replica;
    return replicas_[static_cast<std::size_t>(replica)]->cached_tokens(request);
  }

 private:
  const std::vector<std::unique_ptr<Replica>>& replicas_;
  std::span<const ReplicaView> pool_;
};

}  // namespace

Routing::Routing(const ClusterConfig& cluster, const std::vector<std::unique_ptr<Replica>>& replicas)
    : cluster_(cluster), replicas_(replicas), views_(replicas.size()) {
  RouterParams params = cluster.router_params;
  params.seed = cluster.seed;
  router_ = Registry<Routers>::find(cluster.router).make(params);
  if (cluster.handover) decode_router_ = Registry<Routers>::find(cluster.handover->router).make(params);
  reads_kv_ = router_->reads_kv() || (decode_router_ && decode_router_->reads_kv());
  reads_freeness_ = router_->reads_freeness();
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (cluster.replicas[i].role != Role::decode) entry_ = i + 1;
    views_[i].replica = static_cast<int>(i);
    views_[i].kv_blocks_free = views_[i].kv_blocks_total = replicas[i]->kv_blocks_free();
    views_[i].rate = cluster.replicas[i].rate;
  }
}

/// The replicas as they are, or as they were when they were last looked at.
std::span<const ReplicaView> Routing::look(Ps now) {
  const bool stale = cluster_.router_snapshot_interval > Ps(0);
  if (stale && now < look_again_) return snapshot_;
  for (std::size_t i = 0; reads_kv_ && i < views_.size(); ++i) {
    replicas_[i]->catch_up(now);
    views_[i].kv_blocks_free = replicas_[i]->kv_blocks_free();
  }
  if (reads_freeness_) {
    const double headroom = cluster_.migration ? cluster_.migration->params.urgent_tokens : 0;
    for (std::size_t i = 0; i < entry_; ++i) views_[i].freeness = freeness(*replicas_[i], headroom, now);
  }
  if (!stale) return views_;
  look_again_ = now + cluster_.router_snapshot_interval;
  snapshot_ = views_;
  return snapshot_;
}

int Routing::route(Router& router, std::span<const ReplicaView> pool, const Request& request) const {
  return router.route(request, pool, Probe(replicas_, pool));
}

int Routing::choose(const Request& request, Ps now) {
  return entry_ == 1 ? 0 : route(*router_, look(now).first(entry_), request);
}

int Routing::choose_among(const std::vector<int>& some, const Request& request, Ps now) {
  if (some.size() == 1) return some.front();
  const std::span<const ReplicaView> seen = look(now);
  some_views_.clear();
  for (const int r : some) some_views_.push_back(seen[static_cast<std::size_t>(r)]);
  return some[static_cast<std::size_t>(route(*router_, some_views_, request))];
}

int Routing::choose_decode(const Request& request, Ps now) {
  const std::span<const ReplicaView> pool = look(now).subspan(entry_);
  return static_cast<int>(entry_) + (pool.size() == 1 ? 0 : route(*decode_router_, pool, request));
}

void Routing::count(int replica, const Request& request, int sign) {
  ReplicaView& view = views_[static_cast<std::size_t>(replica)];
  view.outstanding_requests += sign;
  view.outstanding_tokens += sign * (Tokens{request.prompt_tokens} + request.output_tokens);
  view.outstanding_prompt_tokens += sign * Tokens{request.prompt_tokens};
}

void Routing::renewed(int replica) {
  const auto i = static_cast<std::size_t>(replica);
  views_[i].kv_blocks_free = replicas_[i]->kv_blocks_free();
}

}  // namespace orrery
