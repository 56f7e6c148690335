// A fleet that grows and shrinks with its load.
#include "des/fleet.hpp"

namespace orrery {

FleetLoad Fleet::load() const {
  FleetLoad out;
  out.waiting = static_cast<std::int64_t>(held_.size());
  out.outstanding = out.waiting;
  for (int r = 0; r < static_cast<int>(states_.size()); ++r) {
    if (state(r) == ReplicaState::starting) ++out.starting;
    if (state(r) != ReplicaState::up) continue;
    ++out.up;
    out.waiting += cluster_.replica(r).waiting();
    out.outstanding += cluster_.outstanding(r);
  }
  out.arrivals_per_s = static_cast<double>(seen_.arrivals) / to_seconds(autoscaler_->params().interval).value;
  if (seen_.first_tokens > 0) out.ttft_s = seen_.ttft_s / static_cast<double>(seen_.first_tokens);
  return out;
}

void Fleet::look(Ps now) {
  const FleetLoad seen = load();
  seen_ = {};
  int there = seen.up + seen.starting;
  const int wanted = autoscaler_->desired(seen, now);
  for (; there < wanted; ++there) scale_up(now);
  for (; there > wanted; --there) scale_down(now);
  if (!cluster_.served()) cluster_.at(now + autoscaler_->params().interval, [this](Ps at) { look(at); });
}

/// The first that is neither there nor about to come back.
void Fleet::scale_up(Ps now) {
  for (int r = 0; r < static_cast<int>(states_.size()); ++r) {
    if (state(r) == ReplicaState::down && !repaired_[static_cast<std::size_t>(r)]) return start(r, now);
  }
}

/// The last of those that only start; else that with the fewest requests, the last of equals.
void Fleet::scale_down(Ps now) {
  int least = -1;
  for (int r = 0; r < static_cast<int>(states_.size()); ++r) {
    const bool starting = state(r) == ReplicaState::starting;
    if (!starting && state(r) != ReplicaState::up) continue;
    if (least >= 0 && !starting) {
      if (state(least) == ReplicaState::starting) continue;
      if (cluster_.outstanding(r) > cluster_.outstanding(least)) continue;
    }
    least = r;
  }
  if (least >= 0) drain(least, now);
}

}  // namespace orrery
