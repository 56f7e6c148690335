#include "des/fleet.hpp"

#include <algorithm>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "workload/request.hpp"

namespace orrery {
namespace {

void check_replica(int replica, int replicas, const char* what) {
  if (replica >= 0 && replica < replicas) return;
  throw ConfigError(std::string(what) + " names replica " + std::to_string(replica) + ", and there are " +
                        std::to_string(replicas) + ", numbered from 0",
                    "0 to " + std::to_string(replicas - 1), ExitCode::usage);
}

}  // namespace

Fleet::Fleet(const FleetConfig& config, std::uint64_t seed, const CoreContext& context, Cluster& cluster)
    : config_(config),
      context_(context),
      cluster_(cluster),
      states_(static_cast<std::size_t>(cluster.replicas())),
      lives_(states_.size()),
      repaired_(states_.size()) {
  for (const Outage& outage : config.outages) check_replica(outage.replica, cluster.replicas(), "a failure");
  for (const Drain& drain : config.drains) check_replica(drain.replica, cluster.replicas(), "a drain");
  for (int r = 0; r < cluster.replicas(); ++r) {
    if (cluster.config(r).scheduler.decoder.sampled()) {
      throw ConfigError("tokens drawn by speculation are not taken back when a replica fails: not modelled",
                        "expected acceptance instead of sampled", ExitCode::usage);
    }
    failures_.emplace_back(seed, "failures/replica " + std::to_string(r));
    const bool there = config.initial == 0 || r < config.initial;
    enter(r, there ? ReplicaState::up : ReplicaState::down, Ps(0));
    if (there) await_failure(r, Ps(0));
  }
  for (const Outage& o : config.outages) {
    cluster.at(o.start, [this, o](Ps now) { fail(o.replica, o.repair, now); });
  }
  for (const Drain& d : config.drains) {
    cluster.at(d.start, [this, d](Ps now) { drain(d.replica, now); });
  }
  for (const Remesh& remesh : config.remeshings) plan_remesh(remesh);
  if (config.autoscale) {
    autoscaler_.emplace(*config.autoscale);
    cluster.at(config.autoscale->interval, [this](Ps now) { look(now); });
  }
}

bool Fleet::admits(const Request& request) {
  ++seen_.arrivals;
  if (!up_.empty()) return true;
  held_.push_back({{request, 0, 0, {}, kNever}, true, -1});
  return false;
}

void Fleet::on_first_token(const Request& request, Ps now) {
  ++seen_.first_tokens;
  seen_.ttft_s += to_seconds(now - request.arrival).value;
}

void Fleet::enter(int replica, ReplicaState state, Ps now, bool failed) {
  states_[static_cast<std::size_t>(replica)] = state;
  const auto at = std::lower_bound(up_.begin(), up_.end(), replica);
  const bool listed = at != up_.end() && *at == replica;
  if (state == ReplicaState::up && !listed) up_.insert(at, replica);
  if (state != ReplicaState::up && listed) up_.erase(at);
  for (Observer* o : context_.observers) o->on_replica({replica, state, now, failed});
}

/// The next failure of a replica that has just come up.
void Fleet::await_failure(int replica, Ps now) {
  if (config_.mtbf_s <= 0) return;
  Rng& rng = failures_[static_cast<std::size_t>(replica)];
  const Ps at = now + to_ps(Seconds(rng.exponential(config_.mtbf_s)));
  const Ps repair = to_ps(Seconds(rng.exponential(config_.mttr_s)));
  cluster_.at(at, [this, replica, repair, life = lives_[static_cast<std::size_t>(replica)]](Ps when) {
    if (life == lives_[static_cast<std::size_t>(replica)]) fail(replica, repair, when);
  });
}

void Fleet::fail(int replica, Ps repair, Ps now) {
  const ReplicaState before = state(replica);
  if (before == ReplicaState::down) return;
  ++lives_[static_cast<std::size_t>(replica)];
  std::vector<Evacuated> lost;
  cluster_.replica(replica).evacuate(now, lost);
  if (state(replica) == ReplicaState::down) return;  // the last request of one that drained was just done
  enter(replica, ReplicaState::down, now, true);
  std::sort(lost.begin(), lost.end(),
            [](const auto& a, const auto& b) { return arrived_before(a.request, b.request); });
  for (Evacuated& begun : lost) send_again(std::move(begun), replica, now);
  if (before == ReplicaState::draining) return;  // it was to stop anyway
  repaired_[static_cast<std::size_t>(replica)] = true;
  cluster_.at(now + repair, [this, replica](Ps when) {
    if (repaired_[static_cast<std::size_t>(replica)]) start(replica, when);
  });
}

void Fleet::send_again(Evacuated begun, int from, Ps now) {
  if (config_.retry == RetryPolicy::none || ++retries_[begun.request.id] > config_.max_retries)
    return give_up(begun, from, now);
  cluster_.leave(from, begun.request);
  Retry told{begun.request.id, from, now, begun.delivered, 0};
  if (config_.retry == RetryPolicy::restart) {
    told.discarded = begun.delivered;
    const Prefilled before = begun.before;
    begun = {begun.request, 0, 0, {}, kNever};
    begun.before.queued = before.queued, begun.before.preemptions = before.preemptions;
  }
  for (Observer* o : context_.observers) o->on_retry(told);
  if (config_.retry_delay == Ps(0)) return place({std::move(begun), false, -1}, now);
  cluster_.at(now + config_.retry_delay, [this, begun = std::move(begun)](Ps when) {
    place({begun, false, -1}, when);
  });
}

void Fleet::give_up(const Evacuated& begun, int from, Ps now) {
  retries_.erase(begun.request.id);
  RequestRecord record;
  record.id = begun.request.id, record.replica = from, record.client = begun.request.client;
  record.prompt_tokens = begun.request.prompt_tokens;
  record.arrival = begun.request.arrival;
  record.queued = record.scheduled = record.first_token = record.done = now;
  record.failure =
      config_.retry == RetryPolicy::none ? "its replica failed" : "its replicas failed too many times";
  ++context_.totals.failed;
  for (Observer* o : context_.observers) o->on_request_done(record);
  context_.listener.on_done(begun.request, record);
}

void Fleet::place(const Held& held, Ps now) {
  if (up_.empty() || (held.heir >= 0 && state(held.heir) == ReplicaState::starting)) {
    held_.push_back(held);
    return;
  }
  const Request& request = held.begun.request;
  if (held.fresh) return cluster_.dispatch(request, now);
  const bool kept = held.heir >= 0 && state(held.heir) == ReplicaState::up;
  const int r = kept ? held.heir : cluster_.choose(request, now);
  if (kept) kept_[request.id] = held.begun.before;
  cluster_.enter(r, request);
  cluster_.replica(r).resume(held.begun, kept, now);
  cluster_.changed(r);
}

void Fleet::start(int replica, Ps now) {
  const auto life = ++lives_[static_cast<std::size_t>(replica)];
  repaired_[static_cast<std::size_t>(replica)] = false;
  cluster_.renew(replica);
  enter(replica, ReplicaState::starting, now);
  cluster_.at(now + config_.cold_start.boot + config_.cold_start.image, [this, replica, life](Ps when) {
    if (life == lives_[static_cast<std::size_t>(replica)]) load_weights(replica, when);
  });
}

/// Each GPU loads its part.
void Fleet::load_weights(int replica, Ps now) {
  const ColdStart& cold = config_.cold_start;
  const auto life = lives_[static_cast<std::size_t>(replica)];
  const auto loaded = [this, replica, life](Ps when) {
    cluster_.at(when + config_.cold_start.capture,
                [this, replica, life](Ps at) { ready(replica, life, at); });
  };
  if (!cluster_.has_fabric() || cold.weights_bytes <= 0) {
    const double seconds = cold.weights_bytes_per_s > 0 ? cold.weights_bytes / cold.weights_bytes_per_s : 0.0;
    return loaded(now + to_ps(Seconds(seconds)));
  }
  const ReplicaConfig& to = cluster_.config(replica);
  auto left = std::make_shared<int>(to.gpus);
  for (int g = 0; g < to.gpus; ++g) {
    const Endpoint storage{Endpoint::Kind::storage, 0}, gpu{Endpoint::Kind::gpu, to.first_gpu + g};
    cluster_.fabric().transfer(storage, gpu, Bytes(cold.weights_bytes / to.gpus), now, [left, loaded](Ps at) {
      if (--*left == 0) loaded(at);
    });
  }
}

void Fleet::ready(int replica, std::int64_t life, Ps now) {
  if (life != lives_[static_cast<std::size_t>(replica)]) return;  // it has failed meanwhile
  enter(replica, ReplicaState::up, now);
  if (!cluster_.served()) await_failure(replica, now);
  std::deque<Held> held;
  held.swap(held_);
  for (const Held& h : held) place(h, now);
}

void Fleet::drain(int replica, Ps now) {
  if (state(replica) == ReplicaState::starting) {
    ++lives_[static_cast<std::size_t>(replica)];
    return enter(replica, ReplicaState::down, now);
  }
  if (state(replica) != ReplicaState::up) return;
  enter(replica, ReplicaState::draining, now);
  stop_if_drained(replica, now);
}

/// Its client knows later than the replica.
void Fleet::on_left(const RequestRecord& record) {
  retries_.erase(record.id);
  const Ps way_back = record.failure ? Ps(0) : cluster_.config(record.replica).front_end.out;
  stop_if_drained(record.replica, record.done - way_back);
}

void Fleet::stop_if_drained(int replica, Ps now) {
  if (state(replica) != ReplicaState::draining || cluster_.outstanding(replica) > 0) return;
  ++lives_[static_cast<std::size_t>(replica)];
  enter(replica, ReplicaState::down, now);
}

}  // namespace orrery
