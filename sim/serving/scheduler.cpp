#include "serving/scheduler.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace orrery {

Scheduler::Scheduler(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
    : config_(std::move(config)), kv_(kv), pool_(kv_.groups(), std::move(caps)) {}

SeqIndex Scheduler::add(const Request& request, Ps queued, const char** refusal) {
  const Tokens prompt = request.prompt_tokens;
  if (request.prompt_tokens < 1 || request.output_tokens < 1) {
    *refusal = "no prompt or no output tokens requested";
  } else if (prompt >= config_.max_model_len) {
    *refusal = "prompt is at or beyond max_model_len";
  } else if (!config_.enable_chunked_prefill && prompt > config_.max_num_batched_tokens) {
    *refusal = "prompt is longer than max_num_batched_tokens and chunked prefill is off";
  }
  if (*refusal) return kNoSeq;
  const Tokens output = std::min<Tokens>(request.output_tokens, config_.max_model_len - prompt);
  if (most_blocks(prompt + output - 1) > kv_.total_blocks()) {
    *refusal = "needs more KV blocks than the cache has";
    return kNoSeq;
  }

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
  seq.request.output_tokens = static_cast<std::int32_t>(output);
  seq.target = prompt;
  seq.queued = queued;
  wait(index, false);
  return index;
}

void Scheduler::wait(SeqIndex index, bool front) {
  sequence(index).state = Sequence::State::waiting;
  if (config_.scheduling_policy == "priority") {
    const auto rank = [&](SeqIndex i) {
      const Request& r = sequence(i).request;
      return std::tuple(r.priority, r.arrival, r.id);
    };
    waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), index,
                                     [&](SeqIndex a, SeqIndex b) { return rank(a) < rank(b); }),
                    index);
  } else if (front) {
    waiting_.push_front(index);
  } else {
    waiting_.push_back(index);
  }
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

Tokens Scheduler::stored_tokens(const Sequence& seq) const {
  return seq.state == Sequence::State::decoding ? seq.target + (pool_.step() - seq.joined) : seq.computed;
}

std::int64_t Scheduler::max_blocks(const Sequence& seq) const {
  return most_blocks(Tokens{seq.request.prompt_tokens} + seq.request.output_tokens - 1);
}

Tokens Scheduler::tokens_to_come() const {
  Tokens stored = pool_.set().context - pool_.size();
  for (const SeqIndex i : partial_) stored += sequence(i).computed;
  return std::max<Tokens>(0, committed_tokens_ - stored);
}

/// A sequence enters (1) or leaves (-1) the running set.
void Scheduler::commit(const Sequence& seq, int sign) {
  running_ += sign;
  committed_blocks_ += sign * max_blocks(seq);
  committed_tokens_ += sign * (Tokens{seq.request.prompt_tokens} + seq.request.output_tokens);
}

SeqIndex Scheduler::choose_victim() const {
  if (config_.scheduling_policy != "priority") return last_;
  const auto rank = [&](SeqIndex i) {
    const Request& r = sequence(i).request;
    return std::tuple(r.priority, r.arrival, r.id);
  };
  SeqIndex worst = last_;
  for (SeqIndex i = last_; i != kNoSeq; i = sequence(i).before) {
    if (rank(i) > rank(worst)) worst = i;
  }
  return worst;
}

/// vLLM v1 has no swap: all blocks are freed, the generated tokens are kept and computed again with the
/// prompt.
void Scheduler::preempt(SeqIndex victim, BatchPlan& plan) {
  Sequence& seq = sequence(victim);
  const Tokens stored = stored_tokens(seq);
  if (seq.state == Sequence::State::decoding) {
    pool_.leave(seq.target, seq.joined);
    seq.generated += pool_.step() - seq.joined;
    seq.target = seq.request.prompt_tokens + seq.generated;
  } else {
    partial_.erase(std::find(partial_.begin(), partial_.end(), victim));
  }
  ++seq.generation;
  ++seq.preemptions;
  kv_.release(seq, stored, true);
  seq.computed = 0;
  commit(seq, -1);
  unlink(victim);
  wait(victim, true);
  plan.preempted.push_back(victim);
}

/// Whose the blocks are matters only to block tables.
void Scheduler::take_decode_blocks(std::int64_t steps) {
  if (kv_.has_block_ids()) return deal_decode_blocks(steps);
  kv_.take(pool_.blocks_taken(steps));
}

void Scheduler::plan_decodes(BatchPlan& plan) {
  while (pool_.size() > 0 && pool_.blocks_taken(1) > kv_.free_blocks()) preempt(choose_victim(), plan);
  plan.decode = pool_.set();
  if (pool_.size() > 0) take_decode_blocks(1);
}

Tokens Scheduler::plan_prefills(BatchPlan& plan, Tokens budget) {
  for (std::size_t i = 0; i < partial_.size() && budget > 0;) {
    const SeqIndex index = partial_[i];
    Sequence& seq = sequence(index);
    Tokens tokens = seq.target - seq.computed;
    if (config_.long_prefill_token_threshold > 0)
      tokens = std::min(tokens, config_.long_prefill_token_threshold);
    tokens = std::min(tokens, budget);
    if (kv_.groups().needed(seq.computed, seq.computed + tokens) > kv_.free_blocks()) {
      // In order of admission it stands behind the decode set and is the next victim itself; so vLLM stops
      // here.
      preempt(index, plan);
      break;
    }
    kv_.extend(seq, seq.computed, seq.computed + tokens);
    const bool last = seq.computed + tokens == seq.target;
    plan.chunks.push_back({index, {tokens, seq.computed}, last});
    plan.prefill_tokens += tokens;
    seq.computed += tokens;
    budget -= tokens;
    if (last) {
      partial_.erase(partial_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  return budget;
}

void Scheduler::plan_admissions(BatchPlan& plan, Tokens budget) {
  while (!waiting_.empty() && budget > 0 && running_ < config_.max_num_seqs) {
    const SeqIndex index = waiting_.front();
    Sequence& seq = sequence(index);
    KvCache::Hit hit = kv_.lookup(seq);
    const auto fits = [&](std::int64_t blocks) { return blocks <= kv_.free_blocks() - hit.free_blocks; };
    const auto whole = [&] { return most_blocks(seq.target) - kv_.groups().held(hit.tokens); };
    if (running_ == 0 && hit.tokens > 0 && !fits(whole()))
      hit = {};  // alone, it may evict what it would have hit
    Tokens tokens = seq.target - hit.tokens;
    if (config_.long_prefill_token_threshold > 0)
      tokens = std::min(tokens, config_.long_prefill_token_threshold);
    if (!config_.enable_chunked_prefill && tokens > budget) break;
    tokens = std::min(tokens, budget);
    const std::int64_t blocks =
        config_.reserve_full_isl ? whole() : kv_.groups().needed(hit.tokens, hit.tokens + tokens);
    if (!fits(blocks) || !may_admit(seq)) break;

    waiting_.pop_front();
    kv_.admit(seq, hit, hit.tokens + tokens);
    if (seq.preemptions == 0) seq.cached_tokens = hit.tokens;
    seq.computed = hit.tokens + tokens;
    seq.state = Sequence::State::prefilling;
    commit(seq, 1);
    link(index);
    const bool last = seq.computed == seq.target;
    if (!last) partial_.push_back(index);
    plan.admitted.push_back(index);
    plan.chunks.push_back({index, {tokens, hit.tokens}, last});
    plan.prefill_tokens += tokens;
    budget -= tokens;
  }
}

void Scheduler::plan_mixed(BatchPlan& plan) {
  plan_decodes(plan);
  const Tokens budget = plan_prefills(plan, config_.max_num_batched_tokens - plan.decode.seqs);
  if (plan.preempted.empty()) plan_admissions(plan, budget);
}

void Scheduler::join_decodes(SeqIndex index) {
  Sequence& seq = sequence(index);
  seq.generated = seq.target - seq.request.prompt_tokens + 1;  // the token this chunk yields
  const Tokens remaining = seq.request.output_tokens - seq.generated;
  if (remaining == 0) return;
  seq.state = Sequence::State::decoding;
  seq.joined = pool_.step();
  pool_.join(index, seq.generation, seq.target, remaining);
  watch_drop(index);
}

/// Plans the decode set's next step as done: what it left behind the caps is free for the one after.
void Scheduler::advance_decodes() {
  const std::int64_t dropped = pool_.blocks_dropped(1);
  pool_.advance(1);
  std::int64_t cached = 0;
  for (SeqIndex i = pool_.pop_dropping(sequences_); i != kNoSeq; i = pool_.pop_dropping(sequences_)) {
    if (sequence(i).state != Sequence::State::decoding) continue;
    cached += kv_.drop_cached(sequence(i), stored_tokens(sequence(i)));
    watch_drop(i);
  }
  kv_.give_back(dropped - cached);
}

/// Cached blocks are given back one by one, when their time comes.
void Scheduler::watch_drop(SeqIndex index) {
  const Sequence& seq = sequence(index);
  const Tokens next = kv_.next_cached_drop(seq);
  if (next > 0) pool_.watch_drop(index, seq.generation, next - stored_tokens(seq));
}

/// Counts are advanced when a step is planned, not when it is done, so that the next one can be planned
/// meanwhile.
void Scheduler::finish(BatchPlan& plan) {
  if (plan.decode.seqs > 0) advance_decodes();
  for (const auto& chunk : plan.chunks)
    kv_.drop(sequence(chunk.seq), chunk.tokens.past, sequence(chunk.seq).computed);
  const auto drain = [&](SeqIndex index) {
    sequence(index).state = Sequence::State::draining;
    unlink(index);
    plan.finishing.push_back(index);
  };
  for (SeqIndex i = pool_.pop_finished(sequences_); i != kNoSeq; i = pool_.pop_finished(sequences_)) {
    Sequence& seq = sequence(i);
    seq.computed = stored_tokens(seq);
    pool_.leave(seq.target, seq.joined);
    seq.generated = seq.request.output_tokens;
    drain(i);
  }
  for (const auto& chunk : plan.chunks) {
    if (!chunk.last) continue;
    join_decodes(chunk.seq);
    if (sequence(chunk.seq).state != Sequence::State::decoding) drain(chunk.seq);
  }
}

void Scheduler::schedule(BatchPlan& plan) {
  plan.clear();
  decide(plan);
  finish(plan);
}

std::int64_t Scheduler::extendable(const BatchPlan& latest) const {
  if (latest.decode.seqs == 0 || !latest.chunks.empty() || !latest.finishing.empty() || !partial_.empty())
    return 0;
  if (pool_.set() != latest.decode.advanced(1))
    return 0;  // a cap was reached, or a chunk begun: the slope of its price changes
  if (!waiting_.empty() && (!latest.preempted.empty() || !blocked_stays_blocked())) return 0;
  return pool_.steps_within(kv_.free_blocks(), pool_.steps_to_event());
}

void Scheduler::extend(BatchPlan& latest, std::int64_t steps) {
  if (steps == 0) return;
  kv_.give_back(pool_.blocks_dropped(steps - 1));
  take_decode_blocks(steps);
  latest.decode = latest.decode.advanced(steps);
  latest.preempted.clear();
  pool_.advance(steps - 1);
  finish(latest);
}

void Scheduler::complete(const BatchPlan& plan) {
  for (const SeqIndex index : plan.finishing) {
    Sequence& seq = sequence(index);
    kv_.release(seq, seq.computed, false);
    commit(seq, -1);
  }
}

void Scheduler::release_slot(SeqIndex index) {
  Sequence& seq = sequence(index);
  seq.state = Sequence::State::free;
  seq.request.prefix.reset();
  ++seq.generation;
  spare_.push_back(index);
}

std::unique_ptr<Scheduler> make_scheduler(const SchedulerConfig& config, const KvConfig& kv,
                                          std::vector<KeyCap> caps) {
  if (config.max_num_seqs < 1) throw ConfigError("max_num_seqs must be at least 1");
  if (config.max_num_batched_tokens < config.max_num_seqs) {
    throw ConfigError(
        "max_num_batched_tokens (" + std::to_string(config.max_num_batched_tokens) +
            ") is smaller than max_num_seqs (" + std::to_string(config.max_num_seqs) + ")",
        "every running sequence needs one token of the budget: raise the one or lower the other");
  }
  if (config.scheduling_policy != "fcfs" && config.scheduling_policy != "priority") {
    throw ConfigError("unknown scheduling_policy '" + config.scheduling_policy + "'",
                      suggestion(config.scheduling_policy, {"fcfs", "priority"}));
  }
  return Registry<Schedulers>::find(config.scheduler).make(config, kv, std::move(caps));
}

}  // namespace orrery
