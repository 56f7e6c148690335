#include "des/simulation.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.hpp"
#include "des/cluster.hpp"
#include "des/disaggregation.hpp"
#include "des/event_queue.hpp"
#include "des/fleet.hpp"
#include "des/migration.hpp"
#include "des/replica.hpp"
#include "des/tier_loads.hpp"
#include "des/timers.hpp"
#include "serving/router.hpp"

namespace orrery {
namespace {

/// The clock: requests come in, replicas step, until nothing is left.
class Simulation final : public RequestListener, public Cluster {
 public:
  Simulation(const ClusterConfig& cluster, RequestSource& source, std::span<Observer* const> observers)
      : cluster_(cluster),
        source_(source),
        observers_(observers),
        context_{cluster.stepwise, watches_first_tokens(cluster), observers_, *this, result_},
        views_(cluster.replicas.size()) {
    if (cluster.replicas.empty()) throw ConfigError("a cluster needs at least one replica", "--replicas 1");
    if (cluster.fabric) fabric_ = std::make_unique<Fabric>(*cluster.fabric->topology, cluster.fabric->flows);
    RouterParams params = cluster.router_params;
    params.seed = cluster.seed;
    if (cluster.handover) {
      handovers_ = std::make_unique<Disaggregation>(*cluster.handover, context_, *this);
      decode_router_ = Registry<Routers>::find(cluster.handover->router).make(params);
    }
    router_ = Registry<Routers>::find(cluster.router).make(params);
    reads_kv_ = router_->reads_kv() || (decode_router_ && decode_router_->reads_kv());
    reads_freeness_ = router_->reads_freeness();
    store_ = make_store(cluster);
    for (std::size_t i = 0; i < cluster.replicas.size(); ++i) {
      replicas_.push_back(make(static_cast<int>(i)));
      if (cluster.replicas[i].role != Role::decode) entry_ = i + 1;
      views_[i].replica = static_cast<int>(i);
      views_[i].kv_blocks_free = views_[i].kv_blocks_total = replicas_[i]->kv_blocks_free();
      views_[i].rate = cluster.replicas[i].rate;
    }
    result_.busy.resize(replicas_.size());
    if (cluster.fleet) start_fleet();
    if (cluster.migration) {
      migration_ =
          std::make_unique<LiveMigration>(*cluster.migration, context_, static_cast<Cluster&>(*this));
    }
  }

  SimulationResult run() {
    pull();
    while (!stopped()) {
      const Ps next_step = events_.empty() ? kNever : events_.top().time;
      admit_sources(next_step);
      const Ps next_arrival = in_transit_.empty() ? kNever : in_transit_.top().time;
      const Ps next_timer = timers_.next();
      const Ps horizon = std::min({next_step, next_arrival, next_timer});
      const Ps sent = fabric_ ? fabric_->next_event(horizon) : kNever;
      if (sent != kNever) {
        if (sent > cluster_.until) break;
        ++result_.events;
        fabric_->advance(sent);
      } else if (next_timer != kNever && next_timer == horizon) {
        if (next_timer > cluster_.until || over()) break;
        ++result_.events;
        timers_.advance();
      } else if (next_arrival != kNever && next_arrival <= next_step) {
        arrive();
      } else if (!events_.empty()) {
        step();
      } else if (!has_next_) {
        break;
      }
    }
    return finish();
  }

 private:
  struct Transit {
    Ps time;
    std::int32_t slot;
    std::int64_t id;
    bool operator>(const Transit& o) const { return time != o.time ? time > o.time : id > o.id; }
  };

  static bool watches_first_tokens(const ClusterConfig& cluster) {
    return cluster.fleet && cluster.fleet->autoscale &&
           cluster.fleet->autoscale->signal == AutoscaleParams::Signal::ttft;
  }
  void on_first_token(const Request& request, Ps now) override { fleet_->on_first_token(request, now); }

  void start_fleet() {
    if (handovers_) {
      throw ConfigError("replicas that prefill for others do not come and go: it is not modelled",
                        "--replicas, without failures, drains and autoscaling", ExitCode::usage);
    }
    const auto has_tiers = [](const ReplicaConfig& replica) { return !replica.kv.tiers.empty(); };
    if (cluster_.migration || std::any_of(cluster_.replicas.begin(), cluster_.replicas.end(), has_tiers)) {
      throw ConfigError("replicas come and go: live migration and KV tiers beside that are not modelled",
                        "failures, drains and autoscaling without them", ExitCode::usage);
    }
    fleet_ = std::make_unique<Fleet>(*cluster_.fleet, cluster_.seed, context_, *this);
  }

  std::unique_ptr<Replica> make(int index) {
    ReplicaConfig replica = config(index);
    replica.kv.store = store_;
    return make_replica(index, replica, context_);
  }

  /// The tier that all replicas share, if they have one.
  static std::shared_ptr<KvTier> make_store(const ClusterConfig& cluster) {
    for (const ReplicaConfig& replica : cluster.replicas) {
      for (const KvTierConfig& tier : replica.kv.tiers) {
        if (tier.shared) return std::make_shared<KvTier>(tier.blocks);
      }
    }
    return nullptr;
  }

  bool stopped() {
    const Ps next =
        std::min({in_transit_.empty() ? kNever : in_transit_.top().time,
                  events_.empty() ? kNever : events_.top().time, has_next_ ? next_.arrival : kNever});
    if (next != kNever && next > cluster_.until) return true;
    if (cluster_.stop && cluster_.stop->load(std::memory_order_relaxed)) result_.interrupted = true;
    return result_.interrupted;
  }

  void pull() { has_next_ = source_.next(next_); }

  /// Sends every request on its way whose arrival is not after the next thing to happen; of a closed loop all
  /// there are, since a completion can bring one that comes before those. All replicas have the first one's
  /// way in: it is the client's path, not the GPU's.
  void admit_sources(Ps next_step) {
    const FrontEnd& front = cluster_.replicas.front().front_end;
    if (closed_loop_ && !has_next_) pull();
    while (has_next_) {
      const Ps horizon = std::min(next_step, in_transit_.empty() ? kNever : in_transit_.top().time);
      if (next_.arrival > horizon && !closed_loop_) return;
      std::int32_t slot;
      if (spare_.empty()) {
        slot = static_cast<std::int32_t>(transit_requests_.size());
        transit_requests_.emplace_back();
      } else {
        slot = spare_.back();
        spare_.pop_back();
      }
      const Ps at = next_.arrival + front.in + front.in_per_prompt_token * std::int64_t{next_.prompt_tokens};
      in_transit_.push({at, slot, next_.id});
      transit_requests_[static_cast<std::size_t>(slot)] = std::move(next_);
      ++result_.requests;
      pull();
    }
  }

  void arrive() {
    const Transit transit = in_transit_.top();
    in_transit_.pop();
    ++result_.events;
    Request request = std::move(transit_requests_[static_cast<std::size_t>(transit.slot)]);
    spare_.push_back(transit.slot);
    const Tokens room = cluster_.replicas.front().scheduler.max_model_len - request.prompt_tokens;
    if (room > 0 && request.output_tokens > room) request.output_tokens = static_cast<std::int32_t>(room);
    if (fleet_ && !fleet_->admits(request)) return;
    dispatch(std::move(request), transit.time);
  }

  int choose(const Request& request, Ps now) override {
    const bool some = fleet_ && fleet_->up().size() < entry_;
    if (!some && entry_ == 1) return 0;
    const std::span<const ReplicaView> seen = look(now);
    if (some) return choose_among(fleet_->up(), request, seen);
    return router_->route(request, seen.first(entry_), Probe{*this, seen});
  }

  int choose_among(const std::vector<int>& some, const Request& request, std::span<const ReplicaView> seen) {
    if (some.size() == 1) return some.front();
    some_views_.clear();
    for (const int r : some) some_views_.push_back(seen[static_cast<std::size_t>(r)]);
    return some[static_cast<std::size_t>(router_->route(request, some_views_, Probe{*this, some_views_}))];
  }

  void dispatch(Request request, Ps now) override {
    const int r = choose(request, now);
    if (handovers_) request = handovers_->prefill_part(request);
    enter(r, request);
    Replica& replica = *replicas_[static_cast<std::size_t>(r)];
    const Ps before = replica.next_event();
    replica.enqueue(request, now);
    if (replica.next_event() != before) events_.push({replica.next_event(), 0, r});
  }

  void renew(int index) override {
    const auto i = static_cast<std::size_t>(index);
    result_.busy[i] += replicas_[i]->busy();
    replicas_[i]->count_tiers(result_.kv_tiers);
    loads_.forget(index);
    replicas_[i] = make(index);
    views_[i].kv_blocks_free = replicas_[i]->kv_blocks_free();
  }

  /// What routers see: the replicas as they are, or as they were when they were last looked at.
  std::span<const ReplicaView> look(Ps now) {
    const bool stale = cluster_.router_snapshot_interval > Ps(0);
    if (stale && now < look_again_) return snapshot_;
    for (std::size_t i = 0; reads_kv_ && i < views_.size(); ++i) {
      replicas_[i]->catch_up(now);
      views_[i].kv_blocks_free = replicas_[i]->kv_blocks_free();
    }
    if (reads_freeness_) read_freeness(now);
    if (!stale) return views_;
    look_again_ = now + cluster_.router_snapshot_interval;
    snapshot_ = views_;
    return snapshot_;
  }

  void enter(int replica, const Request& request) override {
    ReplicaView& view = views_[static_cast<std::size_t>(replica)];
    ++view.outstanding_requests;
    view.outstanding_tokens += Tokens{request.prompt_tokens} + request.output_tokens;
    view.outstanding_prompt_tokens += request.prompt_tokens;
  }

  void read_freeness(Ps now) {
    const double headroom = cluster_.migration ? cluster_.migration->params.urgent_tokens : 0;
    for (std::size_t i = 0; i < entry_; ++i)
      views_[i].freeness = orrery::freeness(*replicas_[i], headroom, now);
  }

  void step() {
    const Event event = events_.top();
    events_.pop();
    Replica& replica = *replicas_[static_cast<std::size_t>(event.id)];
    if (replica.next_event() != event.time) return;  // rescheduled meanwhile
    ++result_.events;
    replica.on_event(event.time);
    if (replica.next_event() != kNever) events_.push({replica.next_event(), 0, event.id});
  }

  void on_done(const Request& request, const RequestRecord& record) override {
    leave(record.replica, request);
    if (fleet_) fleet_->on_left(record);
    if (handovers_ && record.failure) handovers_->on_refused(request.id, record.done);
    result_.end = std::max(result_.end, record.done);
    if (closed_loop_) source_.completed(request, record.done);
  }

  void on_prefill(const Request& request, const SequenceHandle& sequence, Ps start, Ps end) override {
    handovers_->on_prefill(request, sequence, start, end);
  }
  void on_prefilled(const Request& request, const SequenceHandle& sequence, const Prefilled& done,
                    Ps now) override {
    handovers_->on_prefilled(request, sequence, done, now);
  }
  void on_reserved(const Request& request, const SequenceHandle& sequence, Tokens tokens, Ps now) override {
    if (fleet_) return fleet_->on_reserved(request, sequence, now);
    handovers_->on_reserved(request, sequence, tokens, now);
  }

  void on_departed(const Request&, const SequenceHandle& sequence, const Prefilled& before, Ps now) override {
    migration_->on_departed(sequence, before, now);
  }

  void on_load(const SequenceHandle& sequence, const KvLoad& load, Ps now) override {
    loads_.on_load(sequence, load, now);
  }

  Replica& replica(int index) override { return *replicas_[static_cast<std::size_t>(index)]; }
  const ReplicaConfig& config(int index) const override {
    return cluster_.replicas[static_cast<std::size_t>(index)];
  }
  int choose_decode(const Request& request, Ps now) override {
    const int first = static_cast<int>(entry_);
    const std::span<const ReplicaView> pool = look(now).subspan(entry_);
    const int r = first + (pool.size() == 1 ? 0 : decode_router_->route(request, pool, Probe{*this, pool}));
    enter(r, request);
    return r;
  }
  void leave(int replica, const Request& request) override {
    ReplicaView& view = views_[static_cast<std::size_t>(replica)];
    --view.outstanding_requests;
    view.outstanding_tokens -= Tokens{request.prompt_tokens} + request.output_tokens;
    view.outstanding_prompt_tokens -= request.prompt_tokens;
  }
  std::int64_t outstanding(int replica) const override {
    return views_[static_cast<std::size_t>(replica)].outstanding_requests;
  }
  bool has_fabric() const override { return fabric_ != nullptr; }
  int replicas() const override { return static_cast<int>(replicas_.size()); }
  Fabric& fabric() override {
    ORRERY_CHECK(fabric_ != nullptr, "nothing moves between replicas without a fabric");
    return *fabric_;
  }
  void at(Ps time, Callback callback) override { timers_.at(time, std::move(callback)); }
  bool quiet() const override {
    return events_.empty() && in_transit_.empty() && !has_next_ && (!fabric_ || fabric_->in_flight() == 0);
  }
  /// A closed loop would have brought more.
  bool served() const override {
    return !has_next_ && result_.requests == result_.completed + result_.failed;
  }
  bool over() const { return quiet() && served(); }
  void changed(int replica) override {
    const Ps next = replicas_[static_cast<std::size_t>(replica)]->next_event();
    if (next != kNever) events_.push({next, 0, replica});
  }

  /// Caches of the replicas that a router chooses from.
  struct Probe final : PrefixProbe {
    const Simulation& simulation;
    std::span<const ReplicaView> pool;
    Probe(const Simulation& s, std::span<const ReplicaView> p) : simulation(s), pool(p) {}
    Tokens cached_tokens(int index, const Request& request) const override {
      const int replica = pool[static_cast<std::size_t>(index)].replica;
      return simulation.replicas_[static_cast<std::size_t>(replica)]->cached_tokens(request);
    }
  };

  SimulationResult finish() {
    result_.unfinished = result_.requests - result_.completed - result_.failed;
    if (result_.unfinished > 0 && !result_.interrupted && cluster_.until == kNever) {
      if (fleet_ && fleet_->abandoned()) {
        throw ConfigError("requests wait at the router, and no replica is there or comes back to take them",
                          "another replica, or --until", ExitCode::infeasible);
      }
      ORRERY_CHECK(handovers_ != nullptr, "the simulation is stuck: requests are left over");
      throw ConfigError(handovers_->deadlock(), "more KV blocks, or --kv-transfer after",
                        ExitCode::infeasible);
    }
    if (result_.unfinished > 0 && !result_.interrupted) result_.end = cluster_.until;
    for (std::size_t i = 0; i < replicas_.size(); ++i) {
      result_.busy[i] += replicas_[i]->busy();
      replicas_[i]->count_tiers(result_.kv_tiers);
    }
    for (Observer* o : observers_) o->on_end(result_.end);
    return std::move(result_);
  }

  const ClusterConfig& cluster_;
  RequestSource& source_;
  std::span<Observer* const> observers_;
  SimulationResult result_;
  CoreContext context_;
  std::vector<ReplicaView> views_, snapshot_, some_views_;
  Ps look_again_{0};       ///< when the snapshot is out of date
  bool reads_kv_ = false;  ///< a router wants to know the replicas' KV blocks
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::size_t entry_ = 0;  ///< replicas that requests enter by; the others only decode
  std::unique_ptr<Router> router_, decode_router_;
  std::unique_ptr<Fabric> fabric_;
  Timers timers_;
  std::unique_ptr<Disaggregation> handovers_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<LiveMigration> migration_;
  TierLoads loads_{*this, result_};
  std::shared_ptr<KvTier> store_;  ///< the tier that all replicas share
  EventQueue events_;
  std::priority_queue<Transit, std::vector<Transit>, std::greater<>> in_transit_;
  std::vector<Request> transit_requests_;
  std::vector<std::int32_t> spare_;
  Request next_;
  bool has_next_ = false;
  bool reads_freeness_ = false;
  const bool closed_loop_ = source_.closed_loop();
};

}  // namespace

SimulationResult simulate(const ClusterConfig& cluster, RequestSource& source,
                          std::span<Observer* const> observers) {
  return Simulation(cluster, source, observers).run();
}

}  // namespace orrery
