// How the scheduler's decode set gains tokens, and the KV blocks for them.
#include <algorithm>

#include "serving/scheduler.hpp"

namespace orrery {

void Scheduler::join_decodes(SeqIndex index) {
  Sequence& seq = sequence(index);
  seq.generated = seq.target - seq.request.prompt_tokens + 1;  // the token this chunk yields
  const Tokens remaining = std::min<Tokens>(seq.request.output_tokens, allotted(seq)) - seq.generated;
  if (remaining == 0) return;
  seq.state = Sequence::State::decoding;
  seq.lane = static_cast<std::int16_t>(lane_);
  seq.joined = pool().clock();
  pool().join(index, seq.generation, seq.target, remaining);
  queue_->decodes(seq, 1);
  watch_drop(index);
}

/// Its last token comes with `plan`.
void Scheduler::finish_sequence(SeqIndex index, BatchPlan& plan) {
  Sequence& seq = sequence(index);
  seq.state = Sequence::State::draining;
  seq.generated = seq.request.output_tokens;
  parked_tokens_ += seq.computed;
  unlink(index);
  plan.finishing.push_back(index);
}

/// Counts are advanced when a step is planned, not when it is done, so that the next one can be planned
/// meanwhile.
void Scheduler::finish(BatchPlan& plan) {
  plan.decode_tokens = plan.decode.seqs * plan.decode.pace.after(1);
  if (plan.decode.seqs > 0) queue_->served(plan.lane, plan.decode.pace.after(1));
  if (plan.decode.seqs > 0) config_.decoder.sampled() ? advance_drawn(plan) : advance_decodes();
  for (const auto& chunk : plan.chunks)
    kv_.drop(sequence(chunk.seq), chunk.tokens.past, sequence(chunk.seq).computed);
  for (SeqIndex i = pool().pop_finished(sequences_); i != kNoSeq; i = pool().pop_finished(sequences_)) {
    Sequence& seq = sequence(i);
    if (stored_tokens(seq) < wanted(seq)) {
      overrun_.push_back(i);
      continue;
    }
    seq.computed = stored_tokens(seq);
    plan.decode_tokens -= seq.computed - wanted(seq);
    pool().leave(seq.target, seq.joined);
    queue_->decodes(seq, -1);
    finish_sequence(i, plan);
  }
  for (const auto& chunk : plan.chunks) {
    if (!chunk.last) continue;
    join_decodes(chunk.seq);
    if (sequence(chunk.seq).state != Sequence::State::decoding) finish_sequence(chunk.seq, plan);
  }
}

/// With its prompt's last chunk a sequence takes the blocks that drafts will write to.
void Scheduler::take_ahead(Sequence& seq) {
  if (ahead_ == 0) return;
  kv_.take(blocks_ahead(seq.target));
  seq.holds_ahead = true;
}

void Scheduler::give_back_ahead(Sequence& seq, Tokens stored) {
  if (seq.holds_ahead) kv_.give_back(blocks_ahead(stored));
  seq.holds_ahead = false;
}

/// Tokens a decoding sequence gains in the step that is being planned, by draw.
Tokens Scheduler::draw(const Sequence& seq) const {
  return config_.decoder.draw(config_.seed, seq.request.id, seq.generated);
}

/// KV blocks that the decode set takes in the next step.
std::int64_t Scheduler::step_blocks() const {
  std::int64_t sum = pool().blocks_taken(1);
  for (SeqIndex i = first_; config_.decoder.sampled() && i != kNoSeq; i = sequence(i).after) {
    const Sequence& seq = sequence(i);
    if (seq.state != Sequence::State::decoding) continue;
    const Tokens held = stored_tokens(seq) + ahead_;
    sum += kv_.groups().needed(held, held + draw(seq));
  }
  return sum;
}

/// Whose the blocks are matters only to block tables.
void Scheduler::take_decode_blocks(std::int64_t steps) {
  if (kv_.has_block_ids()) return deal_decode_blocks(steps);
  kv_.take(steps == 1 ? step_blocks() : pool().blocks_taken(steps));
}

/// Plans the decode set's next step as done: what it left behind the caps is free for the one after.
void Scheduler::advance_decodes() {
  const std::int64_t dropped = pool().advance_step();
  std::int64_t cached = 0;
  for (SeqIndex i = pool().pop_dropping(sequences_); i != kNoSeq; i = pool().pop_dropping(sequences_)) {
    if (sequence(i).state != Sequence::State::decoding) continue;
    cached += kv_.drop_cached(sequence(i), stored_tokens(sequence(i)));
    watch_drop(i);
  }
  kv_.give_back(dropped - cached);
}

/// The same with drawn tokens: each sequence leaves the pool and joins it again with what it has gained.
void Scheduler::advance_drawn(BatchPlan& plan) {
  for (SeqIndex i = first_, next; i != kNoSeq; i = next) {
    Sequence& seq = sequence(i);
    next = seq.after;
    if (seq.state != Sequence::State::decoding) continue;
    const Tokens stored = seq.target, gained = draw(seq), remaining = wanted(seq) - stored;
    pool().leave(stored, seq.joined);
    ++seq.generation;
    kv_.drop(seq, stored, stored + gained);
    plan.decode_tokens += std::min(gained, remaining);
    if (gained >= remaining) {
      seq.computed = stored + gained;
      queue_->decodes(seq, -1);
      finish_sequence(i, plan);
    } else {
      seq.target += gained, seq.generated += gained;
      pool().join(i, seq.generation, seq.target, remaining - gained);
    }
  }
}

/// Tokens a sequence stores when its last one has been computed.
Tokens Scheduler::wanted(const Sequence& seq) const {
  return Tokens{seq.request.prompt_tokens} + seq.request.output_tokens - 1;
}

/// Cached blocks are given back one by one, when their time comes.
void Scheduler::watch_drop(SeqIndex index) {
  const Sequence& seq = sequence(index);
  const Tokens next = kv_.next_cached_drop(seq);
  if (next > 0) pool().watch_drop(index, seq.generation, next - stored_tokens(seq));
}

}  // namespace orrery
