#include "report/fleet_log.hpp"

#include <algorithm>

namespace orrery {

void FleetLog::leave(std::size_t replica, Ps now) {
  const Since& since = since_[replica];
  const double seconds = to_seconds(std::max(Ps(0), now - since.time)).value;
  if (since.state != ReplicaState::down) sums_.billed_by_replica_s[replica] += seconds;
  switch (since.state) {
    case ReplicaState::up:
      sums_.up_s += seconds;
      break;
    case ReplicaState::starting:
      sums_.starting_s += seconds;
      break;
    case ReplicaState::draining:
      sums_.draining_s += seconds;
      break;
    case ReplicaState::down:
      sums_.down_s += seconds;
      break;
  }
}

/// Replicas that take requests change in number; at one moment only the last number counts.
void FleetLog::count_up(int change, Ps now) {
  if (now > up_since_) {
    sums_.least_up = up_since_ == Ps(0) ? up_ : std::min(sums_.least_up, up_);
    sums_.most_up = std::max(sums_.most_up, up_);
    up_since_ = now;
  }
  up_ += change;
}

void FleetLog::on_replica(const ReplicaChange& c) {
  const auto index = static_cast<std::size_t>(c.replica);
  const bool first = index >= since_.size();
  if (first) since_.resize(index + 1), sums_.billed_by_replica_s.resize(index + 1);
  Since& since = since_[index];
  if (!first) leave(index, c.time);
  count_up((c.state == ReplicaState::up ? 1 : 0) - (since.state == ReplicaState::up ? 1 : 0), c.time);
  if (!first && c.state == ReplicaState::down) ++(c.failed ? sums_.failures : sums_.stops);
  if (c.state == ReplicaState::starting) ++sums_.starts;
  since = {c.state, c.time};
}

void FleetLog::on_retry(const Retry& retry) {
  ++sums_.retries;
  sums_.tokens_discarded += retry.discarded;
  sums_.tokens_kept += retry.delivered - retry.discarded;
  retried_.push_back(retry.request);
}

void FleetLog::on_end(Ps end) {
  for (std::size_t r = 0; r < since_.size(); ++r) leave(r, end);
  count_up(0, end);
  sums_.replicas = static_cast<int>(since_.size());
  const double seconds = to_seconds(end).value;
  if (seconds > 0) sums_.mean_up = sums_.up_s / seconds;
  std::sort(retried_.begin(), retried_.end());
  sums_.retried_requests = std::unique(retried_.begin(), retried_.end()) - retried_.begin();
}

OrderedJson to_json(const FleetSummary& s) {
  return {{"replicas", s.replicas},
          {"up", {{"mean", s.mean_up}, {"least", s.least_up}, {"most", s.most_up}}},
          {"failures", s.failures},
          {"starts", s.starts},
          {"stops", s.stops},
          {"up_s", s.up_s},
          {"starting_s", s.starting_s},
          {"draining_s", s.draining_s},
          {"billed_s", s.billed_s()},
          {"retries", s.retries},
          {"retried_requests", s.retried_requests},
          {"tokens_kept", s.tokens_kept},
          {"tokens_discarded", s.tokens_discarded}};
}

}  // namespace orrery
