// A fleet whose GPUs change in number and are split otherwise (SpotServe: Miao et al., ASPLOS 2024).
#include <algorithm>

#include "des/fleet.hpp"
#include "serving/device_mapping.hpp"

namespace orrery {

/// With migration the engines go on for as long as the grace period leaves time to move the weights that have
/// to (section 5.2: interruptions are arranged as late as possible); else until it ends.
void Fleet::plan_remesh(const Remesh& remesh) {
  Ps stop = remesh.notice + remesh.grace;
  if (config_.remesh_policy == RemeshPolicy::migrate) {
    const DeviceMapping weights =
        map_devices({remesh.before, remesh.after, remesh.held, config_.cold_start.weights_bytes,
                     std::vector<double>(remesh.from.size())});
    const Ps time = to_ps(Seconds(weights.most_moved_bytes / config_.migration_bytes_per_s));
    stop = std::max(remesh.notice, stop - time);
  }
  cluster_.at(stop, [this, &remesh](Ps now) { stop_for(remesh, now); });
}

void Fleet::stop_for(const Remesh& remesh, Ps now) {
  std::vector<std::vector<Evacuated>> lost(remesh.from.size());
  for (std::size_t i = 0; i < remesh.from.size(); ++i) {
    const int r = remesh.from[i];
    repaired_[static_cast<std::size_t>(r)] = false;
    if (state(r) == ReplicaState::down) continue;
    ++lives_[static_cast<std::size_t>(r)];
    if (state(r) != ReplicaState::starting) cluster_.replica(r).evacuate(now, lost[i]);
    if (state(r) != ReplicaState::down) enter(r, ReplicaState::down, now);
    std::sort(lost[i].begin(), lost[i].end(),
              [](const auto& a, const auto& b) { return arrived_before(a.request, b.request); });
  }
  if (config_.remesh_policy == RemeshPolicy::restart) {
    for (const int r : remesh.to) start(r, now);
    for (std::size_t i = 0; i < lost.size(); ++i) {
      for (Evacuated& begun : lost[i]) send_again(std::move(begun), remesh.from[i], now);
    }
    return;
  }
  const Ps there = migrate(remesh, lost, now);
  for (const int r : remesh.to) {
    const auto life = ++lives_[static_cast<std::size_t>(r)];
    cluster_.renew(r);
    enter(r, ReplicaState::starting, now);
    cluster_.at(there, [this, r, life](Ps at) { ready(r, life, at); });
  }
}

/// Requests that had a token take their KV caches along, to the replica that is the heir of theirs; the
/// others have nothing to keep. Returns when all is there.
Ps Fleet::migrate(const Remesh& remesh, std::vector<std::vector<Evacuated>>& lost, Ps now) {
  std::vector<double> kv_bytes(lost.size());
  for (std::size_t i = 0; i < lost.size(); ++i) {
    for (const Evacuated& begun : lost[i]) {
      if (begun.delivered > 0) kv_bytes[i] += config_.kv_bytes(begun.stored);
    }
  }
  const DeviceMapping mapping =
      map_devices({remesh.before, remesh.after, remesh.held, config_.cold_start.weights_bytes, kv_bytes});
  for (std::size_t i = 0; i < lost.size(); ++i) {
    const int heir = remesh.to[static_cast<std::size_t>(mapping.heir[i])];
    for (Evacuated& begun : lost[i]) {
      cluster_.leave(remesh.from[i], begun.request);
      for (Observer* o : context_.observers)
        o->on_retry({begun.request.id, remesh.from[i], now, begun.delivered, 0});
      const bool kept = begun.delivered > 0 && begun.stored > 0;
      held_.push_back({std::move(begun), false, kept ? heir : -1});
    }
  }
  return now + to_ps(Seconds(mapping.most_moved_bytes / config_.migration_bytes_per_s));
}

/// It is there already; the scheduler that has just found room hears of it when it has decided.
void Fleet::on_reserved(const Request& request, const SequenceHandle& sequence, Ps now) {
  const int r = sequence.where.replica;
  const auto kept = kept_.find(request.id);
  cluster_.at(now,
              [this, sequence, r, before = kept->second, life = lives_[static_cast<std::size_t>(r)]](Ps at) {
                if (life != lives_[static_cast<std::size_t>(r)]) return;
                cluster_.replica(r).receive(sequence, before, at);
                cluster_.changed(r);
              });
  kept_.erase(kept);
}

}  // namespace orrery
