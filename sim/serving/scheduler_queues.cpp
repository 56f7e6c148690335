// Who waits and who runs: how sequences enter the scheduler, change sides and leave.
#include <algorithm>
#include <utility>

#include "serving/scheduler.hpp"

namespace orrery {

SeqIndex Scheduler::add(const Request& request, Ps queued, const char** refusal) {
  const Tokens prompt = request.prompt_tokens;
  if (request.prompt_tokens < 1 || request.output_tokens < 1) {
    *refusal = "no prompt or no output tokens requested";
  } else if (prompt >= config_.max_model_len) {
    *refusal = "prompt is at or beyond max_model_len";
  } else if (!config_.enable_chunked_prefill && prompt > config_.max_num_batched_tokens) {
    *refusal = "prompt is longer than max_num_batched_tokens and chunked prefill is off";
  }
  if (config_.max_queued_requests > 0 && waiting() >= config_.max_queued_requests)
    *refusal = "the queue is full (max_queued_requests)";
  if (*refusal) return kNoSeq;
  const Tokens output = std::min<Tokens>(request.output_tokens, config_.max_model_len - prompt);
  if (most_blocks(prompt + output - 1) > kv_.total_blocks()) {
    *refusal = "needs more KV blocks than the cache has";
    return kNoSeq;
  }

  const SeqIndex index = take_slot(request);
  sequence(index).request.output_tokens = static_cast<std::int32_t>(output);
  sequence(index).target = prompt;
  sequence(index).queued = queued;
  wait(index, false);
  return index;
}

SeqIndex Scheduler::take_slot(const Request& request) {
  SeqIndex index;
  if (spare_.empty()) {
    index = static_cast<SeqIndex>(sequences_.size());
    sequences_.emplace_back();
  } else {
    index = spare_.back();
    spare_.pop_back();
  }
  Sequence& seq = sequence(index);
  const std::uint32_t generation = seq.generation;
  seq = Sequence{};
  seq.generation = generation;
  seq.request = request;
  return index;
}

void Scheduler::wait(SeqIndex index, bool front) {
  sequence(index).state = Sequence::State::waiting;
  queue_->waits(sequence(index));
  if (front && (queue_->first_come() || queue_->changes())) {
    waiting_.push_front(index);
  } else if (queue_->first_come() || queue_->changes()) {
    waiting_.push_back(index);  // bring_first() finds who is next when it matters
  } else {
    const auto before = [&](SeqIndex a, SeqIndex b) { return queue_->before(sequence(a), sequence(b)); };
    waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), index, before), index);
  }
}

/// Deadlines come in order, but for those who were preempted and wait among them.
void Scheduler::shed(Ps now, std::vector<SeqIndex>& out) {
  const auto overdue = [&](SeqIndex i) { return queue_->due(sequence(i).request) < now; };
  for (std::size_t i = 0; i < waiting_.size() && overdue(waiting_[i]);) {
    const SeqIndex index = waiting_[i];
    if (sequence(index).preemptions > 0 || sequence(index).kv_to_come) {
      ++i;
      continue;
    }
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    out.push_back(index);
  }
}

/// Where the order changes while others are served, who is next is looked for anew. Who is brought to the
/// front and not admitted goes back, so that the others stay as they came.
void Scheduler::bring_first() {
  if (!queue_->changes() || queue_->as_they_came()) return;
  const auto before = [&](SeqIndex a, SeqIndex b) { return queue_->before(sequence(a), sequence(b)); };
  const auto first = std::min_element(waiting_.begin(), waiting_.end(), before);
  brought_from_ = first - waiting_.begin();
  std::rotate(waiting_.begin(), first, first + 1);
}

void Scheduler::put_back_first() {
  std::rotate(waiting_.begin(), waiting_.begin() + 1, waiting_.begin() + brought_from_ + 1);
  brought_from_ = 0;
}

void Scheduler::link(SeqIndex index) {
  Sequence& seq = sequence(index);
  seq.before = last_;
  seq.after = kNoSeq;
  (last_ == kNoSeq ? first_ : sequence(last_).after) = index;
  last_ = index;
}

void Scheduler::unlink(SeqIndex index) {
  Sequence& seq = sequence(index);
  (seq.before == kNoSeq ? first_ : sequence(seq.before).after) = seq.after;
  (seq.after == kNoSeq ? last_ : sequence(seq.after).before) = seq.before;
}

/// A sequence enters (1) or leaves (-1) the running set.
void Scheduler::commit(const Sequence& seq, int sign) {
  running_ += sign;
  committed_blocks_ += sign * commitment(seq);
  committed_tokens_ += sign * (Tokens{seq.request.prompt_tokens} + seq.request.output_tokens);
}

SeqIndex Scheduler::choose_victim() const {
  SeqIndex worst = last_;
  for (SeqIndex i = last_; queue_->ranks_running() && i != kNoSeq; i = sequence(i).before) {
    if (queue_->before(sequence(worst), sequence(i))) worst = i;
  }
  return worst;
}

/// Takes one out of those who run. Returns the tokens it stores.
Tokens Scheduler::stop(SeqIndex victim, BatchPlan& plan) {
  Sequence& seq = sequence(victim);
  const Tokens stored = stored_tokens(seq);
  seq.decoded = seq.state == Sequence::State::decoding;
  if (seq.decoded) {
    DecodePool& set = pools_[static_cast<std::size_t>(seq.lane)];
    set.leave(seq.target, seq.joined);
    queue_->decodes(seq, -1);
    seq.generated += set.clock() - seq.joined;
    seq.last_plan = std::max(seq.last_plan, lanes_[static_cast<std::size_t>(seq.lane)].last_plan);
    seq.target = seq.request.prompt_tokens + seq.generated;
  } else {
    partial_.erase(std::find(partial_.begin(), partial_.end(), victim));
  }
  seq.entering = false;
  ++seq.generation;
  commit(seq, -1);
  ++seq.preemptions;
  give_back_ahead(seq, stored);
  unlink(victim);
  plan.preempted.push_back(victim);
  return stored;
}

/// All blocks are freed. Where there is no room to swap them out (vLLM v1 has none), the generated tokens are
/// kept and computed again with the prompt.
void Scheduler::preempt(SeqIndex victim, BatchPlan& plan) {
  Sequence& seq = sequence(victim);
  const Tokens stored = stop(victim, plan);
  kv_.release(seq, stored, !swap_out(seq, stored, plan));
  seq.computed = 0;
  wait(victim, true);
}

void Scheduler::give_way_overrun(BatchPlan& plan) {
  for (const SeqIndex index : overrun_) {
    if (sequence(index).state == Sequence::State::decoding) preempt(index, plan);
  }
  overrun_.clear();
}

void Scheduler::release_slot(SeqIndex index) {
  Sequence& seq = sequence(index);
  seq.state = Sequence::State::free;
  seq.request.prefix.reset();
  ++seq.generation;
  spare_.push_back(index);
}

}  // namespace orrery
