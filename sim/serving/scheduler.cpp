#include "serving/scheduler.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace orrery {

namespace {
/// Of a step planned, an engine holds slots for its first token and lookahead() more. Here a planned step
/// takes the blocks of all tokens it brings, one at least: those count as held.
Tokens slots_ahead(const Decoder& decoder) {
  const TokenPace pace = decoder.pace();
  return decoder.lookahead() + 1 - std::max<Tokens>(1, pace.tokens / pace.steps);
}
}  // namespace

Scheduler::Scheduler(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
    : config_(std::move(config)),
      kv_(kv),
      ahead_(slots_ahead(config_.decoder)),
      pool_(kv_.groups(), std::move(caps), config_.decoder.pace(), ahead_) {
  ORRERY_CHECK(config_.decoder.plain() || !kv.block_ids, "speculation keeps no block ids");
}

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
  return seq.state == Sequence::State::decoding ? seq.target + (pool_.clock() - seq.joined) : seq.computed;
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
    seq.generated += pool_.clock() - seq.joined;
    seq.target = seq.request.prompt_tokens + seq.generated;
  } else {
    partial_.erase(std::find(partial_.begin(), partial_.end(), victim));
  }
  ++seq.generation;
  ++seq.preemptions;
  give_back_ahead(seq, stored);
  kv_.release(seq, stored, true);
  seq.computed = 0;
  commit(seq, -1);
  unlink(victim);
  wait(victim, true);
  plan.preempted.push_back(victim);
}

void Scheduler::plan_decodes(BatchPlan& plan) {
  while (pool_.size() > 0 && step_blocks() > kv_.free_blocks()) preempt(choose_victim(), plan);
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
    const bool last = seq.computed + tokens == seq.target;
    const std::int64_t drafted = last ? blocks_ahead(seq.target) : 0;
    if (kv_.groups().needed(seq.computed, seq.computed + tokens) + drafted > kv_.free_blocks()) {
      // In order of admission it stands behind the decode set and is the next victim itself; so vLLM stops
      // here.
      preempt(index, plan);
      break;
    }
    kv_.extend(seq, seq.computed, seq.computed + tokens);
    if (last) take_ahead(seq);
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

/// No fewer free blocks than these admit `seq`, which wants `wanted` beside its hit now, even if less and
/// less of the hit remains. What policies ask for besides is no less than the prompt whole.
std::int64_t Scheduler::enough_blocks(const Sequence& seq, Tokens hit, std::int64_t wanted) const {
  if (wanted <= kv_.free_blocks()) return std::min(wanted, most_blocks(seq.target));
  if (!config_.reserve_full_isl || hit == 0) return wanted;
  return most_blocks(seq.target) - kv_.groups().most(hit, 0);
}

void Scheduler::plan_admissions(BatchPlan& plan, Tokens budget) {
  budget = plan_received(plan, budget);
  while (!waiting_.empty() && budget > 0 && running_ < config_.max_num_seqs) {
    const SeqIndex index = waiting_.front();
    Sequence& seq = sequence(index);
    if (seq.kv_to_come) {
      if (!reserve_first(plan)) break;
      continue;
    }
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
    const bool last = hit.tokens + tokens == seq.target;
    const std::int64_t blocks =
        config_.reserve_full_isl ? whole() : kv_.groups().needed(hit.tokens, hit.tokens + tokens);
    if (!fits(blocks + (last ? blocks_ahead(seq.target) : 0)) || !may_admit(seq)) {
      enough_blocks_ = enough_blocks(seq, hit.tokens, blocks);
      break;
    }

    waiting_.pop_front();
    kv_.admit(seq, hit, hit.tokens + tokens);
    if (seq.preemptions == 0) seq.cached_tokens = hit.tokens;
    seq.computed = hit.tokens + tokens;
    seq.state = Sequence::State::prefilling;
    commit(seq, 1);
    link(index);
    if (last) {
      take_ahead(seq);
    } else {
      partial_.push_back(index);
    }
    plan.admitted.push_back(index);
    plan.chunks.push_back({index, {tokens, hit.tokens}, last});
    plan.prefill_tokens += tokens;
    budget -= tokens;
  }
}

void Scheduler::plan_mixed(BatchPlan& plan) {
  plan_decodes(plan);
  const Tokens budget =
      plan_prefills(plan, config_.max_num_batched_tokens - plan.decode.seqs * config_.decoder.queries());
  if (plan.preempted.empty()) plan_admissions(plan, budget);
}

void Scheduler::schedule(BatchPlan& plan) {
  plan.clear();
  enough_blocks_ = kPlenty;
  decide(plan);
  finish(plan);
}

std::int64_t Scheduler::extendable(const BatchPlan& latest) const {
  if (latest.decode.seqs == 0 || !latest.chunks.empty() || !latest.finishing.empty() || !partial_.empty())
    return 0;
  if (!received_.empty()) return 0;
  if (pool_.set() != latest.decode.advanced(1))
    return 0;  // a cap was reached, or a chunk begun: the slope of its price changes
  if (!waiting_.empty() && (!latest.preempted.empty() || !blocked_stays_blocked())) return 0;
  const std::int64_t free = kv_.free_blocks();
  const std::int64_t steps = pool_.steps_within(free, pool_.steps_to_event());
  return waiting_.empty() ? steps : pool_.steps_below(enough_blocks_, free, steps);
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
    commit(seq, -1);
    if (config_.hands_over) {
      ++in_transfer_;
      continue;
    }
    give_back_ahead(seq, seq.computed);
    kv_.release(seq, seq.computed, false);
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
  const std::int64_t queries = config.decoder.queries();
  if (config.max_num_batched_tokens < config.max_num_seqs * queries) {
    throw ConfigError(
        "max_num_batched_tokens (" + std::to_string(config.max_num_batched_tokens) +
            ") is smaller than max_num_seqs (" + std::to_string(config.max_num_seqs) + ")" +
            (queries > 1 ? " times " + std::to_string(queries) + " tokens to verify" : ""),
        "every running sequence needs its tokens of the budget: raise the one or lower the other");
  }
  if (config.scheduling_policy != "fcfs" && config.scheduling_policy != "priority") {
    throw ConfigError("unknown scheduling_policy '" + config.scheduling_policy + "'",
                      suggestion(config.scheduling_policy, {"fcfs", "priority"}));
  }
  return Registry<Schedulers>::find(config.scheduler).make(config, kv, std::move(caps));
}

}  // namespace orrery
