// Prompts that one engine computes and another decodes. To the one that decodes, such a request is like one
// that was preempted after its first token and finds its prompt in the cache: it computes its second token as
// a chunk of one. Between, its blocks are there and their content is not.
#include "base/error.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

SeqIndex Scheduler::add_computed(const Request& request, Ps queued, const char** refusal) {
  const SeqIndex index = add(request, queued, refusal);
  if (index == kNoSeq) return index;
  Sequence& seq = sequence(index);
  seq.kv_to_come = true;
  seq.generated = 1;
  seq.target = Tokens{request.prompt_tokens} + 1;
  return index;
}

/// Reserves blocks for the prompt of the first who waits, and for the first token, so that it can go on
/// whatever the others take meanwhile. False when they are not free.
bool Scheduler::reserve_first(BatchPlan& plan) {
  const SeqIndex index = waiting_.front();
  Sequence& seq = sequence(index);
  const KvCache::Hit hit = kv_.lookup(seq);
  const std::int64_t blocks = most_blocks(seq.target) - kv_.groups().held(hit.tokens);
  if (blocks + blocks_ahead(seq.target) > kv_.free_blocks() - hit.free_blocks || !may_admit(seq)) {
    enough_blocks_ = enough_blocks(seq, hit.tokens, blocks);
    return false;
  }
  waiting_.pop_front();
  brought_from_ = 0;
  queue_->admitted(sequence(index));
  kv_.admit(seq, hit, seq.target);
  take_ahead(seq);
  kv_.drop(seq, hit.tokens, seq.target - 1);
  seq.cached_tokens = hit.tokens;
  seq.computed = seq.target - 1;
  ++in_transfer_;
  parked_tokens_ += seq.target;
  plan.reserved.push_back(index);
  return true;
}

Tokens Scheduler::tokens_to_receive(SeqIndex index) const {
  const Sequence& seq = sequence(index);
  return seq.computed - seq.cached_tokens;
}

void Scheduler::received(SeqIndex index, const Prefilled& before) {
  Sequence& seq = sequence(index);
  ORRERY_CHECK(seq.kv_to_come && seq.computed == seq.target - 1,
               "a KV cache came that nobody reserved room for");
  seq.kv_to_come = false;
  seq.queued = before.queued, seq.scheduled = before.scheduled;
  seq.first_token = before.first_token, seq.last_token = before.last_token;
  seq.cached_tokens = before.cached_tokens, seq.preemptions = before.preemptions;
  --in_transfer_;
  received_.push_back(index);
}

/// Those whose KV has come join, each with a chunk of one token; returns the budget left.
Tokens Scheduler::plan_received(BatchPlan& plan, Tokens budget) {
  while (!received_.empty() && budget > 0 && running_ < config_.max_num_seqs) {
    const SeqIndex index = received_.front();
    Sequence& seq = sequence(index);
    received_.pop_front();
    parked_tokens_ -= seq.target;
    seq.state = Sequence::State::prefilling;
    commit(seq, 1);
    link(index);
    plan.admitted.push_back(index);
    plan.chunks.push_back({index, {1, seq.computed}, true});
    seq.computed = seq.target;
    ++plan.prefill_tokens;
    --budget;
  }
  return budget;
}

void Scheduler::release_held(SeqIndex index) {
  Sequence& seq = sequence(index);
  parked_tokens_ -= seq.computed;
  give_back_ahead(seq, seq.computed);
  if (seq.computed > 0) kv_.release(seq, seq.computed, false);
  --in_transfer_;
  release_slot(index);
}

}  // namespace orrery
