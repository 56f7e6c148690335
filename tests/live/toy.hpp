#pragma once

#include <memory>
#include <vector>

#include "gpu_runner.hpp"
#include "serve.hpp"
#include "support/fake_engine.hpp"

namespace orrery::test {

/// Two layers of a Llama-like decoder, small enough for the emulator.
inline live::DecoderSizes toy_sizes(live::WeightFormat format = live::WeightFormat::bf16) {
  live::DecoderSizes sizes;
  sizes.hidden = format == live::WeightFormat::int4 ? 128 : 64, sizes.vocab = 96, sizes.format = format;
  live::LayerSizes layer;
  layer.heads = 4, layer.kv_heads = 2, layer.head_dim = 64, layer.ffn = 128;
  sizes.layers = {layer, layer};
  sizes.layers[0].qkv_bias = sizes.layers[1].qk_norm = true;
  return sizes;
}

/// The engine around it.
struct ToyEngine {
  SchedulerConfig scheduler;
  KvConfig kv;
  std::vector<int> graph_sizes = {2, 4};
  ToyEngine() {
    scheduler.max_num_seqs = 4, scheduler.max_num_batched_tokens = 16, scheduler.max_model_len = 64;
    kv.blocks = 40, kv.block_size = 4;
  }
  live::DecoderLimits limits() const {
    live::DecoderLimits l;
    l.kv_blocks = kv.blocks, l.block_size = kv.block_size;
    l.max_rows = static_cast<int>(scheduler.max_num_batched_tokens);
    l.max_sequences = static_cast<int>(scheduler.max_num_seqs);
    l.max_model_len = static_cast<int>(scheduler.max_model_len);
    return l;
  }
  std::unique_ptr<live::GpuRunner> runner(const live::DecoderSizes& sizes) const {
    return std::make_unique<live::GpuRunner>(sizes, limits(), live::RunnerOptions{graph_sizes, 7, true});
  }
};

/// A clock that stands still but for the steps.
class StepClock final : public live::RunClock {
 public:
  Ps now() const override { return now_; }
  void wait_until(Ps time) override { now_ = std::max(now_, time); }
  void advance(Ps by) { now_ += by; }

 private:
  Ps now_{0};
};

/// Runs steps on another runner (or on none), each taking as long as `price` says.
class TimedRunner final : public live::StepRunner {
 public:
  using Price = std::function<Ps(const BatchPlan&)>;
  TimedRunner(live::StepRunner* runner, StepClock& clock, Price price)
      : runner_(runner), clock_(clock), price_(std::move(price)) {}
  void launch(const Scheduler& scheduler, const BatchPlan& plan) override {
    durations_.push(price_(plan));
    if (runner_) runner_->launch(scheduler, plan);
  }
  live::StepReport finish() override {
    clock_.advance(durations_.front());
    durations_.pop();
    return runner_ ? runner_->finish() : live::StepReport{};
  }
  void forget(RequestId id) override {
    if (runner_) runner_->forget(id);
  }

 private:
  live::StepRunner* runner_;
  StepClock& clock_;
  Price price_;
  std::queue<Ps> durations_;
};

/// Serves requests, each step taking a millisecond; what observers were told.
inline Records serve(const ToyEngine& engine, live::StepRunner& runner,
                     const std::vector<Request>& requests) {
  ReplicaConfig replica;
  replica.scheduler = engine.scheduler, replica.kv = engine.kv;
  Records records;
  Observer* observers[] = {&records};
  StepClock clock;
  TimedRunner timed(&runner, clock, [](const BatchPlan&) { return ps_from_ms(1); });
  ListSource source(requests);
  live::Server(replica, {}, timed, clock, observers).run(source);
  return records;
}

inline Request request(RequestId id, double arrival_ms, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = ps_from_ms(arrival_ms), r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

}  // namespace orrery::test
