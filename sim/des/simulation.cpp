#include "des/simulation.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.hpp"
#include "des/cluster.hpp"
#include "des/disaggregation.hpp"
#include "des/event_queue.hpp"
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
      : cluster_(cluster), source_(source), observers_(observers), views_(cluster.replicas.size()) {
    if (cluster.replicas.empty()) throw ConfigError("a cluster needs at least one replica", "--replicas 1");
    const CoreContext context{cluster.stepwise, observers_, *this, result_};
    if (cluster.fabric) fabric_ = std::make_unique<Fabric>(*cluster.fabric->topology, cluster.fabric->flows);
    if (cluster.handover) {
      handovers_ = std::make_unique<Disaggregation>(*cluster.handover, context, *this);
      decode_router_ = Registry<Routers>::find(cluster.handover->router).make(cluster.seed);
    }
    router_ = Registry<Routers>::find(cluster.router).make(cluster.seed);
    const std::shared_ptr<KvTier> store = make_store(cluster);
    for (std::size_t i = 0; i < cluster.replicas.size(); ++i) {
      ReplicaConfig replica = cluster.replicas[i];
      replica.kv.store = store;
      replicas_.push_back(make_replica(static_cast<int>(i), replica, context));
      if (cluster.replicas[i].role != Role::decode) entry_ = i + 1;
      views_[i].kv_blocks_free = replicas_[i]->kv_blocks_free();
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
    const int r = entry_ == 1 ? 0 : router_->route(request, {views_.data(), entry_}, Probe{*this, 0});
    if (handovers_) request = handovers_->prefill_part(request);
    enter(r, request);
    Replica& replica = *replicas_[static_cast<std::size_t>(r)];
    const Ps before = replica.next_event();
    replica.enqueue(request, transit.time);
    if (replica.next_event() != before) events_.push({replica.next_event(), 0, r});
  }

  void enter(int replica, const Request& request) override {
    ReplicaView& view = views_[static_cast<std::size_t>(replica)];
    ++view.outstanding_requests;
    view.outstanding_tokens += Tokens{request.prompt_tokens} + request.output_tokens;
  }

  void step() {
    const Event event = events_.top();
    events_.pop();
    Replica& replica = *replicas_[static_cast<std::size_t>(event.id)];
    if (replica.next_event() != event.time) return;  // rescheduled meanwhile
    ++result_.events;
    replica.on_event(event.time);
    views_[static_cast<std::size_t>(event.id)].kv_blocks_free = replica.kv_blocks_free();
    if (replica.next_event() != kNever) events_.push({replica.next_event(), 0, event.id});
  }

  void on_done(const Request& request, const RequestRecord& record) override {
    leave(record.replica, request);
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
    handovers_->on_reserved(request, sequence, tokens, now);
  }

  void on_load(const SequenceHandle& sequence, const KvLoad& load, Ps now) override {
    loads_.on_load(sequence, load, now);
  }

  Replica& replica(int index) override { return *replicas_[static_cast<std::size_t>(index)]; }
  const ReplicaConfig& config(int index) const override {
    return cluster_.replicas[static_cast<std::size_t>(index)];
  }
  int choose_decode(const Request& request) override {
    const int first = static_cast<int>(entry_);
    const std::span<const ReplicaView> pool = std::span(views_).subspan(entry_);
    const int r = first + (pool.size() == 1 ? 0 : decode_router_->route(request, pool, Probe{*this, first}));
    enter(r, request);
    return r;
  }
  void leave(int replica, const Request& request) override {
    ReplicaView& view = views_[static_cast<std::size_t>(replica)];
    --view.outstanding_requests;
    view.outstanding_tokens -= Tokens{request.prompt_tokens} + request.output_tokens;
  }
  int replicas() const override { return static_cast<int>(replicas_.size()); }
  Fabric& fabric() override {
    ORRERY_CHECK(fabric_ != nullptr, "nothing moves between replicas without a fabric");
    return *fabric_;
  }
  bool has_fabric() const override { return fabric_ != nullptr; }
  void at(Ps time, Callback callback) override { timers_.at(time, std::move(callback)); }
  bool quiet() const override {
    return events_.empty() && in_transit_.empty() && !has_next_ && (!fabric_ || fabric_->in_flight() == 0);
  }
  /// Every request there was has left; a closed loop would have brought more.
  bool over() const { return quiet() && result_.requests == result_.completed + result_.failed; }
  void changed(int replica) override {
    const Ps next = replicas_[static_cast<std::size_t>(replica)]->next_event();
    if (next != kNever) events_.push({next, 0, replica});
  }

  /// Caches of a pool's replicas, the first of which is `first`.
  struct Probe final : PrefixProbe {
    const Simulation& simulation;
    int first;
    Probe(const Simulation& s, int f) : simulation(s), first(f) {}
    Tokens cached_tokens(int replica, const Request& request) const override {
      return simulation.replicas_[static_cast<std::size_t>(first) + static_cast<std::size_t>(replica)]
          ->cached_tokens(request);
    }
  };

  SimulationResult finish() {
    result_.unfinished = result_.requests - result_.completed - result_.failed;
    if (result_.unfinished > 0 && !result_.interrupted && cluster_.until == kNever) {
      ORRERY_CHECK(handovers_ != nullptr, "the simulation is stuck: requests are left over");
      throw ConfigError(handovers_->deadlock(), "more KV blocks, or --kv-transfer after",
                        ExitCode::infeasible);
    }
    if (result_.unfinished > 0 && !result_.interrupted) result_.end = cluster_.until;
    for (const auto& replica : replicas_) {
      result_.busy.push_back(replica->busy());
      replica->count_tiers(result_.kv_tiers);
    }
    for (Observer* o : observers_) o->on_end(result_.end);
    return std::move(result_);
  }

  const ClusterConfig& cluster_;
  RequestSource& source_;
  std::span<Observer* const> observers_;
  std::vector<ReplicaView> views_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::size_t entry_ = 0;  ///< replicas that requests enter by; the others only decode
  std::unique_ptr<Router> router_, decode_router_;
  std::unique_ptr<Fabric> fabric_;
  Timers timers_;
  std::unique_ptr<Disaggregation> handovers_;
  SimulationResult result_;
  TierLoads loads_{*this, result_};
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
