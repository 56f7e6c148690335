#include "serve.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.hpp"

namespace orrery::live {

Server::Server(const ReplicaConfig& replica, std::vector<KeyCap> caps, StepRunner& runner, RunClock& clock,
               std::span<Observer* const> observers)
    : front_end_(replica.front_end),
      async_(replica.scheduler.async_scheduling),
      max_model_len_(replica.scheduler.max_model_len),
      runner_(runner),
      clock_(clock),
      observers_(observers) {
  KvConfig kv = replica.kv;
  kv.block_ids = true;
  scheduler_ = make_scheduler(replica.scheduler, kv, std::move(caps));
  totals_.busy.resize(1);
}

SimulationResult Server::run(RequestSource& source, Ps until, const std::atomic<bool>* stop) {
  source_ = &source;
  bool stepping = false;
  while (true) {
    pull();
    if (stepping) {
      settle();
    } else if (pending_.empty() || next_arrival() > until) {
      break;
    } else {
      clock_.wait_until(next_arrival());
      admit(clock_.now());
    }
    if (stop && stop->load(std::memory_order_relaxed)) totals_.interrupted = true;
    if (totals_.interrupted || clock_.now() > until) break;
    stepping = begin(clock_.now());
  }
  if (!next_.plan.empty()) runner_.finish();
  totals_.unfinished = totals_.requests - totals_.completed - totals_.failed;
  if (totals_.unfinished > 0 && !totals_.interrupted) totals_.end = until;
  for (Observer* o : observers_) o->on_end(totals_.end);
  return std::move(totals_);
}

/// Takes from the source what can be known now: all of a closed loop's requests, the next one of others.
void Server::pull() {
  const bool closed = source_->closed_loop();
  Request request;
  while ((closed || pending_.empty()) && source_->next(request)) pending_.push(std::move(request));
}

/// When the scheduler can first see it.
Ps Server::reaches(const Request& request) const {
  return request.arrival + front_end_.in +
         front_end_.in_per_prompt_token * std::int64_t{request.prompt_tokens};
}

Ps Server::next_arrival() const {
  return reaches(pending_.top());
}

void Server::admit(Ps now) {
  for (pull(); !pending_.empty() && next_arrival() <= now; pull()) {
    Request request = pending_.top();
    pending_.pop();
    ++totals_.requests;
    const Tokens room = max_model_len_ - request.prompt_tokens;
    if (room > 0 && request.output_tokens > room) request.output_tokens = static_cast<std::int32_t>(room);
    for (Observer* o : observers_) o->on_arrival(request, CoreId{});
    const char* refusal = nullptr;
    const Ps queued = reaches(request);
    if (scheduler_->add(request, queued, &refusal) == kNoSeq) refuse(request, refusal, queued);
    totals_.peak_waiting = std::max(totals_.peak_waiting, scheduler_->waiting());
  }
}

void Server::refuse(const Request& request, const char* reason, Ps now) {
  RequestRecord record;
  record.id = request.id, record.client = request.client;
  record.prompt_tokens = request.prompt_tokens;
  record.arrival = request.arrival, record.queued = record.scheduled = record.first_token = record.done = now;
  record.failure = reason;
  ++totals_.failed;
  for (Observer* o : observers_) o->on_request_done(record);
  totals_.end = std::max(totals_.end, now);
  source_->completed(request, now);
}

void Server::plan_and_launch(Flight& flight, Ps now) {
  const auto began = std::chrono::steady_clock::now();
  scheduler_->schedule(flight.plan);
  if (!flight.plan.empty()) runner_.launch(*scheduler_, flight.plan);
  flight.host_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (const SeqIndex i : flight.plan.preempted) {
    ++totals_.preemptions;
    for (Observer* o : observers_) o->on_preemption(scheduler_->sequence(i).request.id, CoreId{}, now);
  }
}

/// Starts the next step, if there is anything to do, and with async scheduling launches the one after it.
bool Server::begin(Ps now) {
  current_.plan.clear();
  if (async_) std::swap(current_, next_);
  if (current_.plan.empty()) {
    plan_and_launch(current_, now);
    mark_preempted(current_.plan, now);
  }
  if (current_.plan.empty()) {
    ORRERY_CHECK(scheduler_->running() > 0 || scheduler_->waiting() == 0,
                 "the scheduler is stuck: requests wait and nothing runs");
    return false;
  }
  start_ = now;
  load_ = load();
  if (async_) plan_and_launch(next_, now);
  for (const SeqIndex i : current_.plan.admitted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.scheduled == kNever) seq.scheduled = now;
  }
  totals_.peak_running = std::max(totals_.peak_running, scheduler_->running());
  const BatchPlan& plan = current_.plan;
  stall_ = Ps(0), stalled_seqs_ = 0;
  if (plan.decode.seqs > joined_since_decode_ && last_decode_ < start_) {
    stall_ = start_ - last_decode_;
    stalled_seqs_ = plan.decode.seqs - joined_since_decode_;
  }
  return true;
}

/// Remembers when preempted sequences had their last token, for the gap that follows.
void Server::mark_preempted(const BatchPlan& plan, Ps last_token) {
  for (const SeqIndex i : plan.preempted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.last_token == kNever && seq.first_token != kNever) seq.last_token = last_token;
  }
}

/// Waits for the step under way, then takes in what arrived meanwhile and lets go what it finished.
void Server::settle() {
  const StepReport report = runner_.finish();
  const Ps now = clock_.now();
  if (async_) mark_preempted(next_.plan, now);  // their last token is in the step that ends now
  admit(now);
  ++totals_.steps;
  totals_.busy[0] += now - start_;
  tell_step(now, report);
  deliver(now);
  scheduler_->complete(current_.plan);
  for (const SeqIndex i : current_.plan.finishing) finish_request(i, now);
}

void Server::tell_step(Ps now, const StepReport& report) {
  const BatchPlan& plan = current_.plan;
  if (plan.decode.seqs > 0) last_decode_ = now, joined_since_decode_ = 0;
  if (on_step) {
    on_step({start_, now - start_, plan.decode.seqs, plan.decode.context, plan.prefill_tokens, plan.chunks,
             report, current_.host_s});
  }
  if (plan.chunks.empty()) {
    DecodeRun run;
    run.start = start_, run.first = now - start_, run.steps = 1;
    run.seqs = plan.decode.seqs, run.context = plan.decode.context;
    run.stall = stall_, run.stalled_seqs = stalled_seqs_, run.load = load_;
    for (Observer* o : observers_) o->on_decode_run(run);
    return;
  }
  chunk_events_.clear();
  for (const auto& c : plan.chunks) {
    chunk_events_.push_back(
        {scheduler_->sequence(c.seq).request.id, c.tokens.new_tokens, c.tokens.past, c.last});
  }
  MixedStep step;
  step.start = start_, step.duration = now - start_;
  step.decode_seqs = plan.decode.seqs, step.context = plan.decode.context;
  step.prefill_tokens = plan.prefill_tokens;
  step.stall = stall_, step.stalled_seqs = stalled_seqs_;
  step.chunks = chunk_events_, step.load = load_;
  for (Observer* o : observers_) o->on_mixed_step(step);
}

/// First tokens, and first tokens after a preemption, leave with the step that computed the prompt's last
/// chunk.
void Server::deliver(Ps now) {
  for (const auto& chunk : current_.plan.chunks) {
    if (!chunk.last) continue;
    Sequence& seq = scheduler_->sequence(chunk.seq);
    ++joined_since_decode_;
    if (seq.first_token == kNever) {
      seq.first_token = now;
    } else if (seq.last_token != kNever) {
      for (Observer* o : observers_) o->on_resumed(seq.request.id, CoreId{}, now - seq.last_token);
      seq.last_token = kNever;
    }
    if (seq.state == Sequence::State::waiting) seq.last_token = now;  // preempted again while this step ran
  }
}

void Server::finish_request(SeqIndex index, Ps now) {
  const Sequence& seq = scheduler_->sequence(index);
  RequestRecord record;
  record.id = seq.request.id, record.client = seq.request.client;
  record.prompt_tokens = seq.request.prompt_tokens, record.cached_tokens = seq.cached_tokens;
  record.output_tokens = seq.request.output_tokens, record.preemptions = seq.preemptions;
  record.arrival = seq.request.arrival, record.queued = seq.queued, record.scheduled = seq.scheduled;
  record.first_token = seq.first_token + front_end_.out;
  record.done = now + front_end_.out;
  ++totals_.completed;
  totals_.prefix_query_tokens += seq.request.prompt_tokens;
  totals_.prefix_hit_tokens += seq.cached_tokens;
  totals_.end = std::max(totals_.end, record.done);
  for (Observer* o : observers_) o->on_request_done(record);
  source_->completed(seq.request, record.done);
  runner_.forget(seq.request.id);
  scheduler_->release_slot(index);
}

CoreLoad Server::load() const {
  return {scheduler_->running(), scheduler_->waiting(), scheduler_->kv().used_blocks(),
          scheduler_->kv().total_blocks()};
}

}  // namespace orrery::live
