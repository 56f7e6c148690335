#include <algorithm>

#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// vLLM's first scheduler (v0, without chunked prefill): whoever can be prefilled is, whole prompts in a step
/// of their own while decoding waits; else all decode. 1% of the blocks stay free at admission (its
/// watermark). Preempted requests are computed again, its default for one answer per prompt; there is no
/// swapping here. The budget of prompts is max_num_batched_tokens, but no less than max_model_len, as v0
/// demands.
class VllmV0 final : public Scheduler {
 public:
  VllmV0(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Scheduler(whole_prompts(std::move(config)), kv, std::move(caps)) {}

 private:
  static SchedulerConfig whole_prompts(SchedulerConfig config) {
    config.enable_chunked_prefill = false;
    config.long_prefill_token_threshold = 0;
    config.max_num_batched_tokens = std::max(config.max_num_batched_tokens, config.max_model_len);
    return config;
  }
  void decide(BatchPlan& plan) override {
    plan_admissions(plan, plan_prefills(plan, config_.max_num_batched_tokens));
    if (plan.chunks.empty()) plan_decodes(plan);
  }
  bool may_admit(const Sequence& seq) const override {
    constexpr std::int64_t kWatermarkShare = 100;
    const std::int64_t watermark = kv_.total_blocks() / kWatermarkShare;
    return running() == 0 || kv_.free_blocks() - most_blocks(seq.target) >= watermark;
  }
};

const Registration<Schedulers> vllm_v0{
    "vllm-v0", "whole prompts first, in steps of their own; else all decode; preempt by recompute",
    make_policy<VllmV0>};

}  // namespace
}  // namespace orrery
