#include "des/lockstep.hpp"

#include <algorithm>
#include <limits>

namespace orrery {

namespace {
/// vLLM v1's coordinator tells its clients of the ranks' queues ten times a second
/// (v1/engine/coordinator.py).
constexpr Ps kLoadInterval{std::int64_t{100} * 1000 * 1000 * 1000};
}  // namespace

LockstepReplica::LockstepReplica(int index, const ReplicaConfig& config, const CoreContext& context)
    : context_(context), index_(index), pricer_(config.pricer) {
  for (int core = 0; core < config.engine_cores; ++core) {
    cores_.emplace_back(CoreId{index, core}, config, context);
  }
  ranks_.resize(cores_.size());
  prices_.resize(cores_.size());
}

/// vLLM v1's balancer (v1/engine/core_client.py: DPLBAsyncMPClient): the rank with the least 4 waiting +
/// running, the first of equals.
std::size_t LockstepReplica::choose_core(Ps now) {
  if (cores_.size() == 1) return 0;
  if (loads_at_ == kNever || now - loads_at_ >= kLoadInterval) {
    loads_.clear();
    for (const EngineCore& core : cores_) loads_.push_back({core.waiting(), core.running()});
    loads_at_ = now;
  }
  const auto score = [](const RankLoad& load) { return load.waiting * 4 + load.running; };
  const auto least = std::min_element(loads_.begin(), loads_.end(),
                                      [&](const auto& a, const auto& b) { return score(a) < score(b); });
  return static_cast<std::size_t>(least - loads_.begin());
}

void LockstepReplica::enqueue(const Request& request, Ps now) {
  const std::size_t chosen = choose_core(now);
  if (!loads_.empty()) ++loads_[chosen].waiting;
  for (Observer* o : context_.observers) {
    o->on_arrival(request, CoreId{index_, static_cast<std::int32_t>(chosen)});
  }
  EngineCore& core = cores_[chosen];
  const EngineCore::Arrival arrival = core.enqueue(request, now);
  if (arrival == EngineCore::Arrival::refused) return;
  if (end_ == kNever || arrival == EngineCore::Arrival::first) look_again(now);
}

void LockstepReplica::look_again(Ps now) {
  if (end_ == kNever) {
    wake_ = now;  // as an event of its own: all arrivals of this instant are seen together
  } else {
    run_.cut(now);
    end_ = run_.end();
  }
}

void LockstepReplica::catch_up(Ps now) {
  if (end_ == kNever || run_.steps < 2) return;
  StepRun done = run_;
  done.cut(now);
  if (--done.steps < 1) return;
  busy_ += done.end() - done.start;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    if (cores_[i].planned()) cores_[i].pass(done, peers_, i == leader_);
  }
  run_.start = done.end();
  run_.price.first += run_.price.slope * done.steps;
  run_.steps -= done.steps;
}

void LockstepReplica::expect(const Request& request, Ps now) {
  const std::size_t chosen = choose_core(now);
  if (!loads_.empty()) ++loads_[chosen].waiting;
  const EngineCore::Arrival arrival = cores_[chosen].expect(request, now);
  if (arrival == EngineCore::Arrival::refused) return;
  if (end_ == kNever || arrival == EngineCore::Arrival::first) look_again(now);
}

void LockstepReplica::receive(const SequenceHandle& sequence, const Prefilled& before, Ps now) {
  cores_[static_cast<std::size_t>(sequence.where.core)].receive(sequence.index, before);
  look_again(now);
}

void LockstepReplica::release(const SequenceHandle& sequence, Ps now) {
  EngineCore& core = cores_[static_cast<std::size_t>(sequence.where.core)];
  core.release(sequence.index);
  if (core.waiting() > 0) look_again(now);
}

void LockstepReplica::loaded(const SequenceHandle& sequence, Ps now) {
  if (stopped_) return;
  cores_[static_cast<std::size_t>(sequence.where.core)].loaded(sequence);
  look_again(now);
}

void LockstepReplica::count_tiers(std::vector<KvTierCounts>& sums) const {
  for (const EngineCore& core : cores_) core.count_tiers(sums);
}

void LockstepReplica::on_event(Ps now) {
  if (wake_ != kNever) {
    wake_ = kNever;
  } else {
    settle(now);
  }
  begin(now);
}

/// The run in flight is over at `now`.
void LockstepReplica::settle(Ps now) {
  busy_ += now - run_.start;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    if (cores_[i].planned()) cores_[i].settle(run_, peers_, i == leader_);
  }
}

void LockstepReplica::evacuate(Ps now, std::vector<Evacuated>& out) {
  const bool running = end_ != kNever;
  bool in_flight = running;
  if (running && run_.keep_whole(now)) {
    const bool all = run_.end() == end_;
    settle(run_.end());
    in_flight = false;
    if (!all) busy_ += now - run_.end();
  } else if (running) {
    busy_ += now - run_.start;
  }
  for (EngineCore& core : cores_) {
    std::vector<const BatchPlan*> lost;
    if (in_flight && core.planned()) lost.push_back(&core.current_plan());
    core.evacuate(std::move(lost), now, out);
  }
  end_ = wake_ = kNever;
  stopped_ = true;
}

void LockstepReplica::resume(const Evacuated& begun, bool kv_kept, Ps now) {
  const std::size_t chosen = choose_core(now);
  if (!loads_.empty()) ++loads_[chosen].waiting;
  const EngineCore::Arrival arrival = cores_[chosen].resume(begun, kv_kept, now);
  if (arrival == EngineCore::Arrival::refused) return;
  if (end_ == kNever || arrival == EngineCore::Arrival::first) look_again(now);
}

/// Starts the next step at `now`, if any rank has something to do.
void LockstepReplica::begin(Ps now) {
  end_ = kNever;
  bool any = false;
  for (EngineCore& core : cores_) any |= core.plan(now);
  if (!any) return;
  decide_run(now);
  for (EngineCore& core : cores_) {
    if (core.planned()) core.launch(run_);
  }
  end_ = run_.end();
}

void LockstepReplica::decide_run(Ps now) {
  run_.start = now;
  if (cores_.size() == 1) {
    run_.price = cores_.front().price(peers_);
  } else {
    for (std::size_t i = 0; i < cores_.size(); ++i) ranks_[i] = cores_[i].shape();
    peers_ = pricer_->gather(ranks_);
    run_.price = slowest();
  }
  run_.steps = run_.price.steps;
}

/// The slowest rank's price, for as many steps as no rank's decision changes and no other becomes slower.
AffinePrice LockstepReplica::slowest() {
  std::int64_t steps = std::numeric_limits<std::int64_t>::max();
  bool found = false;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    if (!cores_[i].planned()) continue;
    const AffinePrice& price = prices_[i] = cores_[i].price(peers_);
    steps = std::min(steps, price.steps);
    const AffinePrice& most = prices_[leader_];
    if (!found || price.first > most.first || (price.first == most.first && price.slope > most.slope)) {
      leader_ = i, found = true;
    }
  }
  const AffinePrice& most = prices_[leader_];
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    if (!cores_[i].planned() || prices_[i].slope <= most.slope) continue;
    const std::int64_t ahead = (most.first - prices_[i].first).value;
    steps = std::min(steps, ahead / (prices_[i].slope - most.slope).value + 1);
  }
  return {most.first, most.slope, steps};
}

std::int64_t LockstepReplica::waiting() const {
  std::int64_t sum = 0;
  for (const EngineCore& core : cores_) sum += core.waiting();
  return sum;
}

std::int64_t LockstepReplica::kv_blocks_free() const {
  std::int64_t sum = 0;
  for (const EngineCore& core : cores_) sum += core.kv().free_blocks();
  return sum;
}

/// A request may go to any rank: on the mean each finds what one in so many holds.
Tokens LockstepReplica::cached_tokens(const Request& request) const {
  Tokens sum = 0;
  for (const EngineCore& core : cores_) sum += core.kv().cached_tokens(request);
  return sum / static_cast<Tokens>(cores_.size());
}

}  // namespace orrery
