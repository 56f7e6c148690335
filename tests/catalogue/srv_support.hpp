#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "catalogue/method.hpp"
#include "serving/scheduler.hpp"

/// What a row of the catalogue says of its engine, as settings of a scheduler.
inline orrery::SchedulerConfig scheduler_of(std::string_view row) {
  const orrery::Json engine = orrery::find_method(std::string(row)).blocks.at("engine");
  orrery::SchedulerConfig config;
  config.scheduler = engine.at("scheduler").get<std::string>();
  config.async_scheduling = false;
  return config;
}

/// A scheduler that is stepped without a clock, every request having come at once.
class Backlog {
 public:
  Backlog(const orrery::SchedulerConfig& config, std::int64_t usable_blocks, int block_size)
      : scheduler_(orrery::make_scheduler(config, {usable_blocks + 1, block_size, false}, {})) {}

  void add(orrery::Tokens prompt, orrery::Tokens output) {
    orrery::Request request;
    request.id = next_id_++;
    request.prompt_tokens = static_cast<std::int32_t>(prompt);
    request.output_tokens = static_cast<std::int32_t>(output);
    const char* refusal = nullptr;
    scheduler_->add(request, orrery::Ps(0), &refusal);
    REQUIRE(refusal == nullptr);
  }
  /// Plans one step, and with it as many as are sure to be like it when `run` is set. Returns how many; 0
  /// when there is nothing left to do.
  std::int64_t step(bool run = false) {
    scheduler_->schedule(plan_);
    if (plan_.empty()) return 0;
    const std::int64_t more = run ? scheduler_->extendable(plan_) : 0;
    scheduler_->extend(plan_, more);
    return 1 + more;
  }
  /// The step's blocks are still held by those whose last token it brings.
  void complete() {
    scheduler_->complete(plan_);
    for (const auto i : plan_.finishing) scheduler_->release_slot(i);
  }
  const orrery::BatchPlan& plan() const { return plan_; }
  const orrery::Scheduler& scheduler() const { return *scheduler_; }

 private:
  std::unique_ptr<orrery::Scheduler> scheduler_;
  orrery::BatchPlan plan_;
  std::int32_t next_id_ = 0;
};
