// An engine core that stops at once, and requests that go on in another.
#include <algorithm>
#include <utility>

#include "des/engine_core.hpp"

namespace orrery {

bool StepRun::keep_whole(Ps now) {
  if (now >= end()) return true;
  cut(now);  // to the boundary behind it, or at it
  if (end() > now) --steps;
  return steps > 0;
}

EngineCore::Arrival EngineCore::resume(const Evacuated& begun, bool kv_kept, Ps now) {
  const char* refusal = nullptr;
  const bool was_empty = scheduler_->waiting() == 0;
  const SeqIndex index = scheduler_->add_begun(begun, kv_kept, &refusal);
  return queued(begun.request, index, was_empty, refusal, now);
}

void EngineCore::evacuate(std::vector<const BatchPlan*> lost, Ps now, std::vector<Evacuated>& out) {
  if (!next_.empty() || !next_.preempted.empty()) lost.push_back(&next_);
  std::vector<std::pair<SeqIndex, Evacuated>> found;
  scheduler_->evacuate(lost, found);
  for (auto& [index, e] : found) {
    const LaneClock& lane = clocks_[static_cast<std::size_t>(scheduler_->sequence(index).lane)];
    if (e.delivered == 0) {
      e.last_token = kNever;
    } else if (e.last_token == kNever) {  // else preempted before
      e.last_token = e.delivered == 1 ? e.before.first_token : lane.last_decode;
    }
    e.last_token = std::min(e.last_token, e.delivered == 0 ? kNever : now);
    e.before.last_token = e.last_token;
    out.push_back(std::move(e));
  }
}

}  // namespace orrery
