#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "serving/scheduler.hpp"

namespace orrery {

/// A scheduler that prefills whoever it may, whole prompts in a step of their own while decoding waits; else
/// all decode. A batch of prompts has max_num_batched_tokens, but no less than max_model_len.
class PromptsFirst : public Scheduler {
 public:
  PromptsFirst(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Scheduler(whole_prompts(std::move(config)), kv, std::move(caps)) {}

 private:
  static SchedulerConfig whole_prompts(SchedulerConfig config) {
    config.enable_chunked_prefill = false;
    config.long_prefill_token_threshold = 0;
    config.max_num_batched_tokens = std::max(config.max_num_batched_tokens, config.max_model_len);
    return config;
  }
  void decide(BatchPlan& plan) override {
    // Prompts begun are those whose KV has been loaded.
    plan_admissions(plan, plan_prefills(plan, config_.max_num_batched_tokens));
    if (plan.chunks.empty()) plan_decodes(plan);
  }
};

}  // namespace orrery
