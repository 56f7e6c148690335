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
#include "des/routing.hpp"
#include "des/tier_loads.hpp"
#include "des/timers.hpp"

namespace orrery {
namespace {

/// The clock: requests come in, replicas step, until nothing is left.
class Simulation final : public RequestListener, public Cluster {
 public:
  Simulation(const ClusterConfig& cluster, RequestSource& source, std::span<Observer* const> observers)
      : cluster_(cluster),
        source_(source),
        observers_(observers),
        context_{cluster.stepwise, watches_first_tokens(cluster), observers_, *this, result_} {
    if (cluster.replicas.empty()) throw ConfigError("a cluster needs at least one replica", "--replicas 1");
    if (cluster.fabric) fabric_ = std::make_unique<Fabric>(*cluster.fabric->topology, cluster.fabric->flows);
    if (cluster.handover) handovers_ = std::make_unique<Disaggregation>(*cluster.handover, context_, *this);
    store_ = make_store(cluster);
    for (std::size_t i = 0; i < cluster.replicas.size(); ++i) replicas_.push_back(make(static_cast<int>(i)));
    routing_ = std::make_unique<Routing>(cluster, replicas_);
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
    const bool all = !fleet_ || fleet_->up().size() == routing_->entry();
    return all ? routing_->choose(request, now) : routing_->choose_among(fleet_->up(), request, now);
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
    routing_->renewed(index);
  }

  void enter(int replica, const Request& request) override { routing_->enter(replica, request); }
  void leave(int replica, const Request& request) override { routing_->leave(replica, request); }
  std::int64_t outstanding(int replica) const override { return routing_->outstanding(replica); }

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
    const int r = routing_->choose_decode(request, now);
    enter(r, request);
    return r;
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
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::unique_ptr<Routing> routing_;
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
  const bool closed_loop_ = source_.closed_loop();
};

}  // namespace

SimulationResult simulate(const ClusterConfig& cluster, RequestSource& source,
                          std::span<Observer* const> observers) {
  return Simulation(cluster, source, observers).run();
}

}  // namespace orrery
