// Sequences that are stopped for others. As long as nobody needs their blocks these stay as they are.
#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

void Scheduler::pause(SeqIndex index, BatchPlan& plan) {
  ORRERY_CHECK(ahead_ == 0 && config_.lanes == 1,
               "pausing with drafts, or in several lanes, is not modelled");
  Sequence& seq = sequence(index);
  seq.computed = seq.kept = stop(index, plan);
  parked_tokens_ += seq.kept;
  wait(index, true);
}

void Scheduler::resume(SeqIndex index) {
  Sequence& seq = sequence(index);
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), index));
  queue_->admitted(seq);
  parked_tokens_ -= std::exchange(seq.kept, 0);
  seq.state = Sequence::State::prefilling;
  seq.entering = true;
  commit(seq, 1);
  link(index);
  partial_.push_back(index);
}

void Scheduler::evict(SeqIndex index, BatchPlan& plan) {
  Sequence& seq = sequence(index);
  const Tokens stored = std::exchange(seq.kept, 0);
  parked_tokens_ -= stored;
  kv_.release(seq, stored, !swap_out(seq, stored, plan));
  seq.computed = 0;
}

}  // namespace orrery
