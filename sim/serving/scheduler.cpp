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
      queue_(make_queue_policy(config_.queue, kv_)),
      ahead_(slots_ahead(config_.decoder)),
      pools_(static_cast<std::size_t>(config_.lanes),
             DecodePool(kv_.groups(), std::move(caps), config_.decoder.pace(), ahead_)),
      lanes_(pools_.size()) {
  ORRERY_CHECK(config_.decoder.plain() || !kv.block_ids, "speculation keeps no block ids");
}

Tokens Scheduler::stored_tokens(const Sequence& seq) const {
  if (seq.state != Sequence::State::decoding) return seq.computed;
  return seq.target + (pools_[static_cast<std::size_t>(seq.lane)].clock() - seq.joined);
}

std::int64_t Scheduler::max_blocks(const Sequence& seq) const {
  return most_blocks(Tokens{seq.request.prompt_tokens} + seq.request.output_tokens - 1);
}

Tokens Scheduler::unfilled_tokens() const {
  if (!kv_.groups().plain()) return 0;
  Tokens stored = parked_tokens_;
  for (const DecodePool& lane : pools_) stored += lane.set().context - lane.size();
  for (const SeqIndex i : partial_) stored += sequence(i).computed;
  return kv_.held_blocks() * kv_.block_size() - stored;
}

std::int64_t Scheduler::reserved_blocks(const Request& request) const {
  Sequence seq;
  seq.request = request;
  return reserves() ? commitment(seq) : 0;
}

Tokens Scheduler::tokens_to_come() const {
  Tokens stored = 0;
  for (const DecodePool& lane : pools_) stored += lane.set().context - lane.size();
  for (const SeqIndex i : partial_) stored += sequence(i).computed;
  return std::max<Tokens>(0, committed_tokens_ - stored);
}

void Scheduler::plan_decodes(BatchPlan& plan) {
  while (pool().size() > 0 && step_blocks() > kv_.free_blocks()) preempt(choose_victim(), plan);
  plan.decode = pool().set();
  if (pool().size() > 0) take_decode_blocks(1);
}

Tokens Scheduler::plan_prefills(BatchPlan& plan, Tokens budget) {
  for (std::size_t i = 0; i < partial_.size() && budget > 0;) {
    const SeqIndex index = partial_[i];
    Sequence& seq = sequence(index);
    Tokens tokens = seq.target - seq.computed;
    if (config_.long_prefill_token_threshold > 0)
      tokens = std::min(tokens, config_.long_prefill_token_threshold);
    if (!config_.enable_chunked_prefill && tokens > budget) break;
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
    if (std::exchange(seq.entering, false)) plan.admitted.push_back(index);
    plan.chunks.push_back({index, {tokens, seq.computed}, last});
    seq.last_plan = planned_ + 1;
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
    bring_first();
    const SeqIndex index = waiting_.front();
    Sequence& seq = sequence(index);
    if (seq.kv_to_come) {
      if (!reserve_first(plan)) break;
      continue;
    }
    if (config_.lanes > 1 && seq.last_plan > completed_) break;
    KvCache::Hit hit = kv_.lookup(seq);
    const auto fits = [&](std::int64_t blocks) { return blocks <= kv_.free_blocks() - hit.free_blocks; };
    const auto whole = [&] { return most_blocks(seq.target) - kv_.groups().held(hit.tokens); };
    if (running_ == 0 && hit.tokens > 0 && !fits(whole()))
      hit = {};               // alone, it may evict what it would have hit
    if (seq.kept > 0) break;  // its policy resumes it
    if (seq.swapped > 0) {
      if (!swap_in_first(hit, plan)) break;
      continue;
    }
    if (kv_.tiers()) {
      KvLoad load = kv_.stored(seq, hit);
      if (load.tokens > 0) {
        if (!start_load(index, hit, std::move(load), budget, plan)) break;
        continue;
      }
    }
    Tokens tokens = seq.target - hit.tokens;
    if (config_.long_prefill_token_threshold > 0)
      tokens = std::min(tokens, config_.long_prefill_token_threshold);
    if (!config_.enable_chunked_prefill && tokens > budget) break;
    tokens = std::min(tokens, budget);
    const bool last = hit.tokens + tokens == seq.target;
    const std::int64_t blocks =
        config_.reserve_full_isl ? whole() : kv_.groups().needed(hit.tokens, hit.tokens + tokens);
    const bool room = fits(blocks + (last ? blocks_ahead(seq.target) : 0));
    if (!room || !may_admit(seq)) {
      if (!room || !reserves()) enough_blocks_ = enough_blocks(seq, hit.tokens, blocks);
      break;
    }

    waiting_.pop_front();
    brought_from_ = 0;
    queue_->admitted(seq);
    kv_.admit(seq, hit, hit.tokens + tokens);
    if (seq.preemptions == 0 && seq.generated == 0) seq.cached_tokens = hit.tokens;
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
    seq.last_plan = planned_ + 1;
    plan.prefill_tokens += tokens;
    budget -= tokens;
  }
  if (brought_from_ > 0) put_back_first();
}

void Scheduler::plan_mixed(BatchPlan& plan) {
  plan_decodes(plan);
  const Tokens budget =
      plan_prefills(plan, config_.max_num_batched_tokens - plan.decode.seqs * config_.decoder.queries());
  if (plan.preempted.empty()) plan_admissions(plan, budget);
}

/// The next lane in turn of those that are free, one that has sequences first.
void Scheduler::choose_lane() {
  ORRERY_CHECK(has_free_lane(), "as many plans are in flight as there are lanes");
  const std::size_t last = lane_, n = lanes_.size();
  bool found = false;
  for (std::size_t i = 1; i <= n; ++i) {
    const std::size_t lane = (last + i) % n;
    if (lanes_[lane].in_flight || (found && pools_[lane].size() == 0)) continue;
    if (!found || pool().size() == 0) lane_ = lane;
    found = true;
  }
}

void Scheduler::schedule(BatchPlan& plan) {
  plan.clear();
  enough_blocks_ = kPlenty;
  if (config_.lanes > 1) choose_lane();
  queue_->decides();
  if (!loaded_.empty()) join_loaded();
  decide(plan);
  plan.lane = static_cast<int>(lane_);
  finish(plan);
  if (plan.empty()) return;
  lanes_[lane_] = {++planned_, true};
  ++in_flight_;
}

std::int64_t Scheduler::extendable(const BatchPlan& latest) const {
  if (latest.decode.seqs == 0 || !latest.chunks.empty() || !latest.finishing.empty() || !partial_.empty())
    return 0;
  if (!received_.empty() || !overrun_.empty() || !loaded_.empty() || loads_may_change()) return 0;
  if (pool().set() != latest.decode.advanced(1))
    return 0;  // a cap was reached, or a chunk begun: the slope of its price changes
  if (!waiting_.empty() && (!latest.preempted.empty() || !blocked_stays_blocked())) return 0;
  if (config_.shed_overdue && !waiting_.empty()) return 0;
  if (queue_->changes() && !waiting_.empty() && running_ < config_.max_num_seqs) return 0;
  const std::int64_t free = kv_.free_blocks();
  const std::int64_t steps = pool().steps_within(free, pool().steps_to_event());
  return waiting_.empty() ? steps : pool().steps_below(enough_blocks_, free, steps);
}

void Scheduler::extend(BatchPlan& latest, std::int64_t steps) {
  if (steps == 0) return;
  lane_ = static_cast<std::size_t>(latest.lane);
  kv_.give_back(pool().blocks_dropped(steps - 1));
  take_decode_blocks(steps);
  latest.decode = latest.decode.advanced(steps);
  latest.preempted.clear();
  latest.swapped_out = 0;
  queue_->served(latest.lane, latest.decode.pace.after(steps) - latest.decode.pace.after(1));
  pool().advance(steps - 1);
  finish(latest);
}

void Scheduler::complete(const BatchPlan& plan) {
  ++completed_, --in_flight_;
  lanes_[static_cast<std::size_t>(plan.lane)].in_flight = false;
  for (const SeqIndex index : plan.departing) {
    commit(sequence(index), -1);
    ++in_transfer_;
  }
  for (const SeqIndex index : plan.finishing) {
    Sequence& seq = sequence(index);
    commit(seq, -1);
    if (config_.hands_over) {
      ++in_transfer_;
      continue;
    }
    parked_tokens_ -= seq.computed;
    give_back_ahead(seq, seq.computed);
    kv_.release(seq, seq.computed, false);
  }
}

std::unique_ptr<Scheduler> make_scheduler(const SchedulerConfig& config, const KvConfig& kv,
                                          std::vector<KeyCap> caps) {
  if (config.max_num_seqs < 1) throw ConfigError("max_num_seqs must be at least 1");
  if (config.lanes < 1) throw ConfigError("a scheduler needs at least one lane");
  if (config.shed_overdue && config.queue.policy != "edf") {
    throw ConfigError("shed_overdue: scheduling_policy '" + config.queue.policy + "' knows no deadlines",
                      "--scheduling-policy edf --deadlines 1s");
  }
  const std::int64_t queries = config.decoder.queries();
  ORRERY_CHECK(config.lanes == 1 || queries == 1, "speculation in several lanes is not modelled");
  if (config.max_num_batched_tokens < config.max_num_seqs * queries) {
    throw ConfigError(
        "max_num_batched_tokens (" + std::to_string(config.max_num_batched_tokens) +
            ") is smaller than max_num_seqs (" + std::to_string(config.max_num_seqs) + ")" +
            (queries > 1 ? " times " + std::to_string(queries) + " tokens to verify" : ""),
        "every running sequence needs its tokens of the budget: raise the one or lower the other");
  }
  return Registry<Schedulers>::find(config.scheduler).make(config, kv, std::move(caps));
}

}  // namespace orrery
