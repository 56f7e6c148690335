// Sequences whose KV comes from lower tiers. As in vLLM (v1/core/sched/scheduler.py, WAITING_FOR_REMOTE_KVS)
// they get their blocks first and wait while others run; what is left of the prompt is computed then. They
// count as running, so that what policies promise to those who run holds for them too.
#include <utility>

#include "serving/scheduler.hpp"

namespace orrery {

/// The first who waits, whose KV lies in part in lower tiers. False when it cannot be admitted.
bool Scheduler::start_load(SeqIndex index, const KvCache::Hit& hit, KvLoad load, Tokens budget,
                           BatchPlan& plan) {
  Sequence& seq = sequence(index);
  const Tokens there = hit.tokens + load.tokens;
  if (!config_.enable_chunked_prefill && seq.target - there > budget) return false;
  const std::int64_t blocks = config_.reserve_full_isl
                                  ? most_blocks(seq.target) - kv_.groups().held(hit.tokens)
                                  : kv_.groups().needed(hit.tokens, there);
  if (blocks > kv_.free_blocks() - hit.free_blocks || !may_admit(seq)) {
    enough_blocks_ = enough_blocks(seq, hit.tokens, blocks);
    return false;
  }
  waiting_.pop_front();
  queue_->admitted(seq);
  kv_.reserve(seq, hit, there);
  kv_.read(load);
  if (seq.preemptions == 0) seq.cached_tokens = there;
  seq.hit = hit.tokens, seq.computed = there;
  seq.state = Sequence::State::loading;
  commit(seq, 1);
  plan.loads.push_back({index, std::move(load)});
  return true;
}

/// Those whose KV has come go on as prompts partly computed.
void Scheduler::join_loaded() {
  for (const SeqIndex index : loaded_) {
    Sequence& seq = sequence(index);
    kv_.fill(seq, seq.hit, seq.computed);
    seq.state = Sequence::State::prefilling;
    seq.entering = true;
    link(index);
    partial_.push_back(index);
  }
  loaded_.clear();
}

/// While a set decodes, what is evicted moves between tiers, and so does the first decision about who waits:
/// but not whether its blocks are there when all of its prompt's are asked for.
bool Scheduler::loads_may_change() const {
  return kv_.tiers() && !waiting_.empty() && !(config_.reserve_full_isl && config_.enable_chunked_prefill);
}

}  // namespace orrery
