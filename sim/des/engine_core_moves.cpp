// What is seen of an engine core between its decisions, and how sequences leave it before they are done.
#include "des/engine_core.hpp"

namespace orrery {

/// What settle() does of a run, but for what comes with a step's end alone: these decode and nobody leaves.
void EngineCore::pass(const StepRun& done, const StepPeers& peers, bool counted) {
  BatchPlan& latest = async_ ? next_ : current_.plan;
  const std::int64_t used = scheduler_->kv().used_blocks();
  scheduler_->extend(latest, done.steps - 1);
  context_.totals.steps += done.steps;
  if (counted) account(done, peers);
  tell(done, 1);
  scheduler_->extend(latest, 1);
  if (async_) current_.plan.decode = current_.plan.decode.advanced(done.steps);
  clock().last_decode = done.end(), clock().joined_since = 0;
  current_.stall = Ps(0), current_.stalled_seqs = 0;
  current_.load.kv_blocks_used += scheduler_->kv().used_blocks() - used;
  current_.load.waiting = scheduler_->waiting();
}

void EngineCore::depart(SeqIndex index) {
  scheduler_->depart(index, async_ && !next_.empty() ? next_ : current_.plan);
}

Tokens EngineCore::computed_tokens(SeqIndex index) const {
  const Tokens planned = (current_.plan.decode.seqs > 0) + (async_ && next_.decode.seqs > 0);
  return scheduler_->stored_tokens(index) - planned;
}

Prefilled EngineCore::so_far(SeqIndex index, Ps last_token) const {
  const Sequence& seq = scheduler_->sequence(index);
  return {seq.queued, seq.scheduled, seq.first_token, last_token, seq.cached_tokens, seq.preemptions};
}

}  // namespace orrery
