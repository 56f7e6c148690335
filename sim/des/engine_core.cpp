#include "des/engine_core.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.hpp"
#include "cost/alpha_beta.hpp"

namespace orrery {

Ps copy_time(double bytes, double bytes_per_s) {
  constexpr AlphaBeta kLinks{};
  return to_ps(Seconds(bytes / (bytes_per_s * kLinks.link_efficiency))) + to_ps(Seconds(kLinks.hop_s));
}

/// The estimate from the real root of its length is put right in integers.
void StepRun::cut(Ps now) {
  if (steps < 2) return;
  const double a = static_cast<double>(price.slope.value) / 2;
  const double b = static_cast<double>(price.first.value) - a;
  const double t = static_cast<double>((now - start).value);
  const double root = a > 0 ? (std::sqrt(b * b + 4 * a * t) - b) / (2 * a) : t / b;
  std::int64_t n = std::clamp<std::int64_t>(static_cast<std::int64_t>(root), 1, steps);
  while (n < steps && boundary(n) < now) ++n;
  while (n > 1 && boundary(n - 1) >= now) --n;
  steps = n;
}

EngineCore::EngineCore(CoreId where, const ReplicaConfig& config, const CoreContext& context)
    : where_(where),
      front_end_(config.front_end),
      async_(config.scheduler.async_scheduling && config.scheduler.lanes == 1),
      hands_over_(config.scheduler.hands_over),
      context_(context),
      links_(config.kv_links),
      pricer_(config.pricer),
      scheduler_(make_scheduler(config.scheduler, config.kv, config.pricer->model().caps())),
      clocks_(static_cast<std::size_t>(config.scheduler.lanes)) {}

EngineCore::Arrival EngineCore::enqueue(const Request& request, Ps now) {
  const char* refusal = nullptr;
  const bool was_empty = scheduler_->waiting() == 0;
  const SeqIndex index = scheduler_->add(request, now, &refusal);
  return queued(request, index, was_empty, refusal, now);
}

EngineCore::Arrival EngineCore::expect(const Request& request, Ps now) {
  const char* refusal = nullptr;
  const bool was_empty = scheduler_->waiting() == 0;
  const SeqIndex index = scheduler_->add_computed(request, now, &refusal);
  return queued(request, index, was_empty, refusal, now);
}

EngineCore::Arrival EngineCore::queued(const Request& request, SeqIndex index, bool was_empty,
                                       const char* refusal, Ps now) {
  if (index == kNoSeq) {
    refuse(request, refusal, now);
    return Arrival::refused;
  }
  context_.totals.peak_waiting = std::max(context_.totals.peak_waiting, scheduler_->waiting());
  // Behind others in a first-come queue it changes nothing yet.
  return was_empty || scheduler_->reorders() ? Arrival::first : Arrival::behind_others;
}

void EngineCore::refuse(const Request& request, const char* reason, Ps now) {
  RequestRecord record;
  record.id = request.id, record.replica = where_.replica, record.client = request.client;
  record.priority = request.priority;
  record.prompt_tokens = request.prompt_tokens;
  record.arrival = request.arrival, record.queued = record.scheduled = record.first_token = record.done = now;
  record.failure = reason;
  ++context_.totals.failed;
  for (Observer* o : context_.observers) o->on_request_done(record);
  context_.listener.on_done(request, record);
}

/// Those whose first token is overdue give up.
void EngineCore::shed(Ps now) {
  shed_.clear();
  scheduler_->shed(now, shed_);
  for (const SeqIndex i : shed_) {
    refuse(scheduler_->sequence(i).request, "shed: its first token was overdue while it waited", now);
    scheduler_->release_slot(i);
  }
}

void EngineCore::decide(BatchPlan& plan, Ps now) {
  if (scheduler_->config().shed_overdue) shed(now);
  scheduler_->schedule(plan);
  for (const SeqIndex i : plan.preempted) {
    ++context_.totals.preemptions;
    for (Observer* o : context_.observers) o->on_preemption(scheduler_->sequence(i).request.id, where_, now);
  }
  for (const SeqIndex i : plan.reserved) {
    context_.listener.on_reserved(scheduler_->sequence(i).request, {where_, i},
                                  scheduler_->tokens_to_receive(i), now);
  }
  for (const ScheduledLoad& load : plan.loads)
    context_.listener.on_load({where_, load.seq, scheduler_->sequence(load.seq).generation}, load.from, now);
  context_.totals.swapped_out += plan.swapped_out;
}

bool EngineCore::plan(Ps now) {
  BatchPlan& plan = current_.plan;
  plan.clear();
  if (async_) std::swap(plan, next_);
  while (plan.empty()) {
    decide(plan, now);
    mark_preempted(plan, now);
    if (plan.preempted.empty()) break;  // else another lane may have the blocks now
  }
  if (plan.empty()) {
    ORRERY_CHECK(scheduler_->running() > 0 || scheduler_->waiting() == 0 || scheduler_->in_transfer() > 0 ||
                     scheduler_->in_flight() > 0,
                 "the scheduler is stuck: requests wait and nothing runs");
    return false;
  }
  current_.load = load();
  if (async_) decide(next_, now);
  for (const SeqIndex i : plan.admitted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.scheduled == kNever) seq.scheduled = now;
  }
  context_.totals.peak_running = std::max(context_.totals.peak_running, scheduler_->running());
  mark_stalled(now);
  current_.chunks.clear();
  for (const auto& chunk : plan.chunks) {
    const Request& request = scheduler_->sequence(chunk.seq).request;
    current_.chunks.push_back(chunk.tokens);
    current_.chunks.back().images =
        images_begun(request.images, request.prompt_tokens, pricer_->image_tokens(), chunk.tokens);
  }
  return true;
}

/// Decoding sequences that the last step left out wait for their next token since their last.
void EngineCore::mark_stalled(Ps now) {
  current_.stall = Ps(0), current_.stalled_seqs = 0;
  const std::int64_t seqs = current_.plan.decode.seqs;
  if (seqs > clock().joined_since && clock().last_decode < now) {
    current_.stall = now - clock().last_decode;
    current_.stalled_seqs = seqs - clock().joined_since;
  }
}

void EngineCore::launch(const StepRun& run) {
  clock().end = run.end();
  if (async_) mark_preempted(next_, run.end());  // their last token is in the step that starts now
  for (const SeqIndex i : current_.plan.admitted) {
    if (hands_over_) {
      context_.listener.on_prefill(scheduler_->sequence(i).request, {where_, i}, run.start, run.end());
    }
  }
}

/// Remembers when preempted sequences had their last token, or have it with a step in flight, for the gap
/// that follows.
void EngineCore::mark_preempted(const BatchPlan& plan, Ps last_token) {
  for (const SeqIndex i : plan.preempted) {
    Sequence& seq = scheduler_->sequence(i);
    if (seq.last_token != kNever || seq.first_token == kNever) continue;
    seq.last_token = std::max(last_token, clocks_[static_cast<std::size_t>(seq.lane)].end);
  }
}

void EngineCore::stage_times(StageTimes& out) {
  pricer_->stage_times(current_.plan.decode, current_.chunks, out);
}

AffinePrice EngineCore::price(const StepPeers& peers) {
  if (pure()) {
    AffinePrice price = pricer_->decode(current_.plan.decode, peers);
    if (current_.plan.swapped_out > 0) return {price.first + swap_out_time(), Ps(0), 1};
    price.steps = context_.stepwise ? 1 : std::min(price.steps, 1 + steps_that_cannot_change());
    return price;
  }
  return {pricer_->mixed(current_.plan.decode, current_.chunks, peers) + swap_out_time(), Ps(0), 1};
}

/// A step that takes the blocks of preempted sequences begins when these have been copied (vLLM v0,
/// worker/cache_engine.py: on the stream of the step).
Ps EngineCore::swap_out_time() const {
  const std::int64_t blocks = current_.plan.swapped_out;
  if (blocks == 0) return Ps(0);
  return copy_time(static_cast<double>(blocks) * links_.block_bytes, links_.swap_bytes_per_s);
}

/// Further steps that would be decided just like the one in flight if nobody arrives.
std::int64_t EngineCore::steps_that_cannot_change() const {
  const BatchPlan& plan = current_.plan;
  if (!async_) return scheduler_->extendable(plan);
  const bool same_set = plan.finishing.empty() && next_.preempted.empty() && next_.chunks.empty() &&
                        next_.decode == plan.decode.advanced(1);
  const bool same_slope = next_.decode.growing == plan.decode.growing;
  return same_set && same_slope ? scheduler_->extendable(next_) : 0;
}

void EngineCore::settle(const StepRun& run, const StepPeers& peers, bool counted, double gpu_share) {
  const Ps now = run.end();
  scheduler_->extend(async_ ? next_ : current_.plan, run.steps - 1);
  context_.totals.evicted_blocks += scheduler_->kv().evicted_blocks() - evicted_blocks_;
  evicted_blocks_ = scheduler_->kv().evicted_blocks();
  context_.totals.steps += run.steps;
  if (current_.plan.decode.seqs > 0) clock().last_decode = now, clock().joined_since = 0;
  clock().end = now;
  if (counted) account(run, peers);
  tell(run, gpu_share);
  deliver(now);
  scheduler_->complete(current_.plan);
  for (const SeqIndex i : current_.plan.departing)
    context_.listener.on_departed(scheduler_->sequence(i).request, {where_, i}, so_far(i, now), now);
  for (const SeqIndex i : current_.plan.finishing) hands_over_ ? hand_over(i, now) : finish_request(i, now);
}

/// In a synchronous run extend() has moved the plan to its last step; the price is that of its first.
DecodeSet EngineCore::first_set(const StepRun& run) const {
  return async_ ? current_.plan.decode : current_.plan.decode.advanced(1 - run.steps);
}

void EngineCore::account(const StepRun& run, const StepPeers& peers) {
  if (pure()) {
    pricer_->account_decode(first_set(run), run.price, run.steps, peers);
  } else {
    pricer_->account_mixed(current_.plan.decode, current_.chunks, run.price.first, peers);
  }
}

void EngineCore::tell_decode(const StepRun& run, double gpu_share) {
  const DecodeSet first = first_set(run);
  DecodeRun told;
  told.where = where(), told.start = run.start, told.first = run.price.first, told.slope = run.price.slope;
  told.steps = run.steps, told.seqs = first.seqs, told.context = first.context, told.load = current_.load;
  told.stall = current_.stall, told.stalled_seqs = current_.stalled_seqs;
  told.pace = first.pace, told.gpu_share = gpu_share;
  // The last step may bring tokens that nobody asked for, or drawn ones: of its own step the plan knows.
  const BatchPlan& plan = current_.plan;
  if (!async_ || told.steps == 1)
    told.extra_tokens = plan.decode_tokens - plan.decode.seqs * plan.decode.pace.after(1);
  for (Observer* o : context_.observers) o->on_decode_run(told);
}

void EngineCore::tell(const StepRun& run, double gpu_share) {
  if (pure()) return tell_decode(run, gpu_share);
  const BatchPlan& plan = current_.plan;
  chunk_events_.clear();
  for (const auto& c : plan.chunks) {
    chunk_events_.push_back(
        {scheduler_->sequence(c.seq).request.id, c.tokens.new_tokens, c.tokens.past, c.last});
  }
  MixedStep step;
  step.where = where(), step.start = run.start, step.duration = run.end() - run.start;
  step.decode_seqs = plan.decode.seqs, step.context = plan.decode.context;
  step.extra_tokens = plan.decode_tokens - plan.decode.seqs;
  step.prefill_tokens = plan.prefill_tokens;
  step.chunks = chunk_events_, step.load = current_.load;
  step.stall = current_.stall, step.stalled_seqs = current_.stalled_seqs, step.gpu_share = gpu_share;
  for (Observer* o : context_.observers) o->on_mixed_step(step);
}

/// First tokens, and first tokens after a preemption, leave with the step that computed the prompt's last
/// chunk.
void EngineCore::deliver(Ps now) {
  for (const auto& chunk : current_.plan.chunks) {
    if (!chunk.last) continue;
    Sequence& seq = scheduler_->sequence(chunk.seq);
    ++clock().joined_since;
    if (seq.first_token == kNever) {
      seq.first_token = now;
      if (context_.first_tokens) context_.listener.on_first_token(seq.request, now);
    } else if (seq.last_token != kNever) {
      for (Observer* o : context_.observers) o->on_resumed(seq.request.id, where_, now - seq.last_token);
      seq.last_token = kNever;
    }
    if (seq.state == Sequence::State::waiting) seq.last_token = now;  // preempted again while this step ran
  }
}

void EngineCore::hand_over(SeqIndex index, Ps now) {
  const Sequence& seq = scheduler_->sequence(index);
  context_.listener.on_prefilled(seq.request, {where_, index}, so_far(index, seq.first_token), now);
}

void EngineCore::finish_request(SeqIndex index, Ps now) {
  const Sequence& seq = scheduler_->sequence(index);
  RequestRecord record;
  record.id = seq.request.id, record.replica = where_.replica, record.client = seq.request.client;
  record.priority = seq.request.priority;
  record.prompt_tokens = seq.request.prompt_tokens, record.cached_tokens = seq.cached_tokens;
  record.output_tokens = seq.request.output_tokens, record.preemptions = seq.preemptions;
  record.turn = seq.request.turn;
  record.arrival = seq.request.arrival, record.queued = seq.queued, record.scheduled = seq.scheduled;
  record.first_token = seq.first_token + front_end_.out;
  record.done = now + front_end_.out;
  ++context_.totals.completed;
  context_.totals.prefix_query_tokens += seq.request.prompt_tokens;
  context_.totals.prefix_hit_tokens += seq.cached_tokens;
  for (Observer* o : context_.observers) o->on_request_done(record);
  context_.listener.on_done(seq.request, record);
  scheduler_->release_slot(index);
}

void EngineCore::loaded(const SequenceHandle& sequence) {
  const bool gone = scheduler_->sequence(sequence.index).generation != sequence.generation;
  if (!gone) scheduler_->loaded(sequence.index);
}

void EngineCore::count_tiers(std::vector<KvTierCounts>& sums) const {
  const KvTiers* tiers = scheduler_->kv().tiers();
  if (!tiers) return;
  const auto& counts = tiers->counts();
  if (sums.empty()) {
    for (const KvTierCounts& c : counts) sums.push_back({c.name});
  }
  for (std::size_t t = 0; t < counts.size(); ++t) {
    sums[t].read += counts[t].read, sums[t].written += counts[t].written;
    sums[t].evicted += counts[t].evicted;
  }
}

CoreLoad EngineCore::load() const {
  return {scheduler_->running(),           scheduler_->waiting(),         scheduler_->kv().used_blocks(),
          scheduler_->kv().total_blocks(), scheduler_->reserved_blocks(), scheduler_->unfilled_tokens()};
}

}  // namespace orrery
