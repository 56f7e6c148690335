// Sequences whose KV comes from lower tiers, or from the swap space that it went to when they were preempted.
// As in vLLM (v1/core/sched/scheduler.py, WAITING_FOR_REMOTE_KVS)
// they get their blocks first and wait while others run; what is left of the prompt is computed then. They
// count as running, so that what policies promise to those who run holds for them too.
#include <algorithm>
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
  brought_from_ = 0;
  queue_->admitted(seq);
  kv_.reserve(seq, hit, there);
  kv_.read(load);
  if (seq.preemptions == 0) seq.cached_tokens = there;
  seq.hit = hit.tokens, seq.computed = there;
  parked_tokens_ += there;
  seq.state = Sequence::State::loading;
  commit(seq, 1);
  plan.loads.push_back({index, std::move(load)});
  return true;
}

/// Those whose KV has come go on as prompts partly computed.
void Scheduler::join_loaded() {
  for (const SeqIndex index : loaded_) {
    Sequence& seq = sequence(index);
    parked_tokens_ -= seq.computed;
    if (seq.swapped > 0) {
      swap_used_ -= swap_blocks(std::exchange(seq.swapped, 0));
    } else {
      kv_.fill(seq, seq.hit, seq.computed);
    }
    seq.state = Sequence::State::prefilling;
    seq.entering = true;
    link(index);
    partial_.push_back(index);
  }
  loaded_.clear();
}

/// A sequence that is being preempted leaves what it stores to the host, if there is room.
bool Scheduler::swap_out(Sequence& seq, Tokens stored, BatchPlan& plan) {
  const std::int64_t blocks = swap_blocks(stored);
  if (stored == 0 || swap_used_ + blocks > config_.swap_blocks) return false;
  swap_used_ += blocks;
  seq.swapped = stored;
  plan.swapped_out += blocks;
  return true;
}

/// The first who waits, whose KV lies in swap space: what the GPU still has of it need not come back. False
/// when it cannot be admitted.
bool Scheduler::swap_in_first(const KvCache::Hit& hit, BatchPlan& plan) {
  const SeqIndex index = waiting_.front();
  Sequence& seq = sequence(index);
  if (hit.tokens >= seq.swapped) {
    swap_used_ -= swap_blocks(std::exchange(seq.swapped, 0));
    return true;  // as if it had been computed again
  }
  const std::int64_t held = kv_.groups().held(hit.tokens), blocks = most_blocks(seq.target) - held;
  if (blocks + blocks_ahead(seq.target) > kv_.free_blocks() - hit.free_blocks || !may_admit(seq)) {
    enough_blocks_ = enough_blocks(seq, hit.tokens, blocks);
    return false;
  }
  waiting_.pop_front();
  brought_from_ = 0;
  queue_->admitted(seq);
  kv_.admit(seq, hit, seq.swapped);
  kv_.drop(seq, hit.tokens, seq.swapped);
  seq.computed = seq.swapped;
  parked_tokens_ += seq.computed;
  seq.state = Sequence::State::loading;
  commit(seq, 1);
  KvLoad load;
  load.swapped = std::max<std::int64_t>(0, swap_blocks(seq.swapped) - held);
  plan.loads.push_back({index, std::move(load)});
  return true;
}

/// While a set decodes, what is evicted moves between tiers, and so does the first decision about who waits:
/// but not whether its blocks are there when all of its prompt's are asked for.
bool Scheduler::loads_may_change() const {
  return kv_.tiers() && !waiting_.empty() && !(config_.reserve_full_isl && config_.enable_chunked_prefill);
}

}  // namespace orrery
