#include "des/engine_core.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.hpp"

namespace orrery {

EngineCore::EngineCore(CoreId where, const ReplicaConfig& config, bool stepwise,
                       std::span<Observer* const> observers, Listener& listener, SimulationResult& totals)
    : where_(where),
      front_end_(config.front_end),
      async_(config.scheduler.async_scheduling),
      stepwise_(stepwise),
      pricer_(config.pricer),
      scheduler_(make_scheduler(config.scheduler, config.kv, config.pricer->model().caps())),
      observers_(observers),
      listener_(listener),
      totals_(totals) {}

void EngineCore::enqueue(const Request& request, Ps now) {
  const char* refusal = nullptr;
  const bool was_empty = scheduler_->waiting() == 0;
  if (scheduler_->add(request, now, &refusal) == kNoSeq) {
    refuse(request, refusal, now);
    return;
  }
  totals_.peak_waiting = std::max(totals_.peak_waiting, scheduler_->waiting());
  if (end_ == kNever) {
    wake_ = now;  // as an event of its own: all arrivals of this instant are seen together
  } else if (was_empty || scheduler_->config().scheduling_policy == "priority") {
    cut_run(now);  // behind others in a first-come queue it changes nothing yet
  }
}

void EngineCore::refuse(const Request& request, const char* reason, Ps now) {
  RequestRecord record;
  record.id = request.id, record.replica = where_.replica, record.client = request.client;
  record.prompt_tokens = request.prompt_tokens;
  record.arrival = request.arrival, record.queued = record.scheduled = record.first_token = record.done = now;
  record.failure = reason;
  ++totals_.failed;
  for (Observer* o : observers_) o->on_request_done(record);
  listener_.on_done(request, record);
}

/// Ends the run in flight at its first boundary at or after now: the estimate from the real root of its
/// length is put right in integers.
void EngineCore::cut_run(Ps now) {
  if (current_.steps < 2) return;
  const double a = static_cast<double>(current_.price.slope.value) / 2;
  const double b = static_cast<double>(current_.price.first.value) - a;
  const double t = static_cast<double>((now - start_).value);
  const double root = a > 0 ? (std::sqrt(b * b + 4 * a * t) - b) / (2 * a) : t / b;
  std::int64_t steps = std::clamp<std::int64_t>(static_cast<std::int64_t>(root), 1, current_.steps);
  while (steps < current_.steps && boundary(steps) < now) ++steps;
  while (steps > 1 && boundary(steps - 1) >= now) --steps;
  current_.steps = steps;
  end_ = boundary(steps);
}

Ps EngineCore::boundary(std::int64_t steps) const {
  return start_ +
         Ps(current_.price.first.value * steps + current_.price.slope.value * (steps * (steps - 1) / 2));
}

void EngineCore::on_event(Ps now) {
  if (wake_ != kNever) {
    wake_ = kNever;
    begin(now);
    return;
  }
  settle(now);
  begin(now);
}

void EngineCore::decide(BatchPlan& plan, Ps now) {
  scheduler_->schedule(plan);
  for (const SeqIndex i : plan.preempted) {
    ++totals_.preemptions;
    for (Observer* o : observers_) o->on_preemption(scheduler_->sequence(i).request.id, where_, now);
  }
}

/// Starts the next step at `now`, if there is anything to do.
void EngineCore::begin(Ps now) {
  end_ = kNever;
  current_.plan.clear();
  if (async_) std::swap(current_.plan, next_);
  if (current_.plan.empty()) {
    decide(current_.plan, now);
    mark_preempted(current_.plan, now);
  }
  if (current_.plan.empty()) {
    ORRERY_CHECK(scheduler_->running() > 0 || scheduler_->waiting() == 0,
                 "the scheduler is stuck: requests wait and nothing runs");
    return;
  }
  start_ = now;
  load_ = load();
  if (async_) decide(next_, now);
  for (const SeqIndex i : current_.plan.admitted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.scheduled == kNever) seq.scheduled = now;
  }
  totals_.peak_running = std::max(totals_.peak_running, scheduler_->running());
  price_current();
  end_ = boundary(current_.steps);
  if (async_) mark_preempted(next_, end_);  // their last token is in the step that starts now
}

/// Remembers when preempted sequences had their last token, for the gap that follows.
void EngineCore::mark_preempted(const BatchPlan& plan, Ps last_token) {
  for (const SeqIndex i : plan.preempted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.last_token == kNever && seq.first_token != kNever) seq.last_token = last_token;
  }
}

void EngineCore::price_current() {
  const BatchPlan& plan = current_.plan;
  current_.stall = Ps(0), current_.stalled_seqs = 0;
  if (plan.decode.seqs > joined_since_decode_ && last_decode_ < start_) {
    current_.stall = start_ - last_decode_;
    current_.stalled_seqs = plan.decode.seqs - joined_since_decode_;
  }
  if (current_.pure()) {
    current_.price = pricer_->decode(plan.decode);
    current_.steps = stepwise_ ? 1 : std::min(current_.price.steps, 1 + steps_that_cannot_change());
    return;
  }
  chunks_.clear();
  for (const auto& chunk : plan.chunks) chunks_.push_back(chunk.tokens);
  current_.price = {pricer_->mixed(plan.decode, chunks_), Ps(0), 1};
  current_.steps = 1;
}

/// Further steps that would be decided just like the one in flight if nobody arrives.
std::int64_t EngineCore::steps_that_cannot_change() const {
  if (!async_) return scheduler_->extendable(current_.plan);
  const bool same_set = current_.plan.finishing.empty() && next_.preempted.empty() && next_.chunks.empty() &&
                        next_.decode == current_.plan.decode.advanced(1);
  const bool same_slope = next_.decode.growing == current_.plan.decode.growing;
  return same_set && same_slope ? scheduler_->extendable(next_) : 0;
}

/// The step or run in flight is over at `now`.
void EngineCore::settle(Ps now) {
  scheduler_->extend(async_ ? next_ : current_.plan, current_.steps - 1);
  totals_.steps += current_.steps;
  busy_ += now - start_;
  tell_step(now);
  deliver(now);
  scheduler_->complete(current_.plan);
  for (const SeqIndex i : current_.plan.finishing) finish_request(i, now);
}

void EngineCore::tell_step(Ps now) {
  const BatchPlan& plan = current_.plan;
  if (plan.decode.seqs > 0) last_decode_ = now, joined_since_decode_ = 0;
  if (current_.pure()) {
    // In a synchronous run extend() has moved the plan to its last step; the price is that of its first.
    const DecodeSet first = async_ ? plan.decode : plan.decode.advanced(1 - current_.steps);
    pricer_->account_decode(first, current_.price, current_.steps);
    DecodeRun run;
    run.where = where_, run.start = start_, run.first = current_.price.first,
    run.slope = current_.price.slope;
    run.steps = current_.steps, run.seqs = first.seqs, run.context = first.context, run.load = load_;
    run.stall = current_.stall, run.stalled_seqs = current_.stalled_seqs;
    run.pace = first.pace;
    // The last step may bring tokens that nobody asked for, or drawn ones: of its own step the plan knows.
    if (!async_ || run.steps == 1)
      run.extra_tokens = plan.decode_tokens - plan.decode.seqs * plan.decode.pace.after(1);
    for (Observer* o : observers_) o->on_decode_run(run);
    return;
  }
  pricer_->account_mixed(plan.decode, chunks_, current_.price.first);
  chunk_events_.clear();
  for (const auto& c : plan.chunks) {
    chunk_events_.push_back(
        {scheduler_->sequence(c.seq).request.id, c.tokens.new_tokens, c.tokens.past, c.last});
  }
  MixedStep step;
  step.where = where_, step.start = start_, step.duration = now - start_;
  step.decode_seqs = plan.decode.seqs, step.context = plan.decode.context;
  step.extra_tokens = plan.decode_tokens - plan.decode.seqs;
  step.prefill_tokens = plan.prefill_tokens;
  step.chunks = chunk_events_, step.load = load_;
  step.stall = current_.stall, step.stalled_seqs = current_.stalled_seqs;
  for (Observer* o : observers_) o->on_mixed_step(step);
}

/// First tokens, and first tokens after a preemption, leave with the step that computed the prompt's last
/// chunk.
void EngineCore::deliver(Ps now) {
  for (const auto& chunk : current_.plan.chunks) {
    if (!chunk.last) continue;
    Sequence& seq = scheduler_->sequence(chunk.seq);
    ++joined_since_decode_;
    if (seq.first_token == kNever) {
      seq.first_token = now;
    } else if (seq.last_token != kNever) {
      for (Observer* o : observers_) o->on_resumed(seq.request.id, where_, now - seq.last_token);
      seq.last_token = kNever;
    }
    if (seq.state == Sequence::State::waiting) seq.last_token = now;  // preempted again while this step ran
  }
}

void EngineCore::finish_request(SeqIndex index, Ps now) {
  const Sequence& seq = scheduler_->sequence(index);
  RequestRecord record;
  record.id = seq.request.id, record.replica = where_.replica, record.client = seq.request.client;
  record.prompt_tokens = seq.request.prompt_tokens, record.cached_tokens = seq.cached_tokens;
  record.output_tokens = seq.request.output_tokens, record.preemptions = seq.preemptions;
  record.arrival = seq.request.arrival, record.queued = seq.queued, record.scheduled = seq.scheduled;
  record.first_token = seq.first_token + front_end_.out;
  record.done = now + front_end_.out;
  ++totals_.completed;
  totals_.prefix_query_tokens += seq.request.prompt_tokens;
  totals_.prefix_hit_tokens += seq.cached_tokens;
  for (Observer* o : observers_) o->on_request_done(record);
  listener_.on_done(seq.request, record);
  scheduler_->release_slot(index);
}

CoreLoad EngineCore::load() const {
  return {scheduler_->running(), scheduler_->waiting(), scheduler_->kv().used_blocks(),
          scheduler_->kv().total_blocks()};
}

}  // namespace orrery
