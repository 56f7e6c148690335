#include "des/pipeline.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery {

PipelineReplica::PipelineReplica(int index, const ReplicaConfig& config, const CoreContext& context)
    : where_{index, 0},
      context_(context),
      core_(where_, config, context),
      free_(static_cast<std::size_t>(config.pricer->shard().pp)) {
  ORRERY_CHECK(config.scheduler.lanes == config.pricer->shard().pp, "a pipeline has a lane for each stage");
}

void PipelineReplica::enqueue(const Request& request, Ps now) {
  for (Observer* o : context_.observers) o->on_arrival(request, where_);
  if (core_.enqueue(request, now) != EngineCore::Arrival::refused) look_again(now);
}

/// As an event of its own: all arrivals of this instant are seen together.
void PipelineReplica::look_again(Ps now) {
  if (core_.may_plan()) wake_ = std::min(wake_, std::max(now, scheduler_free_));
}

void PipelineReplica::resume(const Evacuated& begun, bool kv_kept, Ps now) {
  if (core_.resume(begun, kv_kept, now) != EngineCore::Arrival::refused) look_again(now);
}

void PipelineReplica::receive(const SequenceHandle& sequence, const Prefilled& before, Ps now) {
  core_.receive(sequence.index, before);
  look_again(now);
}

void PipelineReplica::evacuate(Ps now, std::vector<Evacuated>& out) {
  while (!flights_.empty() && flights_.front().run.end() <= now) {
    settle(flights_.front());
    flights_.pop_front();
  }
  std::vector<const BatchPlan*> lost;
  for (const Flight& flight : flights_) lost.push_back(&flight.step.plan);
  core_.evacuate(std::move(lost), now, out);
  flights_.clear();
  wake_ = kNever;
  stopped_ = true;
}

void PipelineReplica::loaded(const SequenceHandle& sequence, Ps now) {
  if (stopped_) return;
  core_.loaded(sequence);
  if (core_.may_plan()) wake_ = std::min(wake_, std::max(now, scheduler_free_));
}

Ps PipelineReplica::next_event() const {
  return std::min(wake_, flights_.empty() ? kNever : flights_.front().run.end());
}

void PipelineReplica::on_event(Ps now) {
  if (!flights_.empty() && flights_.front().run.end() == now) {
    settle(flights_.front());
    flights_.pop_front();
  }
  begin(now);
}

/// Plans batches for the lanes that are free, one after the other.
void PipelineReplica::begin(Ps now) {
  wake_ = kNever;
  while (core_.may_plan()) {
    if (scheduler_free_ > now) {
      wake_ = scheduler_free_;
      return;
    }
    if (!core_.plan(now)) return;
    launch(now);
  }
}

void PipelineReplica::launch(Ps now) {
  core_.stage_times(times_);
  Flight& flight = flights_.emplace_back();
  Ps at = scheduler_free_ = now + times_.host;
  flight.alone = times_.host;
  for (std::size_t s = 0; s < free_.size(); ++s) {
    at = free_[s] = std::max(at, free_[s]) + times_.stages[s];
    flight.worked += times_.stages[s];
    if (s == times_.links.size()) break;
    at += times_.links[s];
    flight.alone += times_.links[s];
  }
  flight.alone += flight.worked;
  flight.run = {now, {at - now, Ps(0), 1}, 1};
  core_.launch(flight.run);
  core_.exchange(flight.step);
}

void PipelineReplica::settle(Flight& flight) {
  core_.exchange(flight.step);
  busy_ += flight.worked;
  core_.account({flight.run.start, {flight.alone, Ps(0), 1}, 1}, {});
  const double gpu_time = static_cast<double>(flight.worked.value) / static_cast<double>(free_.size());
  core_.settle(flight.run, {}, false, gpu_time / static_cast<double>(flight.run.price.first.value));
}

}  // namespace orrery
