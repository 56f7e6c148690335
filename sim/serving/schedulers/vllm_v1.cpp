#include "serving/scheduler.hpp"

namespace orrery {
namespace {

/// vLLM v1: running requests first (one token each, then chunks of prompts begun), then waiting ones, all
/// within one token budget. Whoever waits is not looked at in a step that preempted. Where the decode set and
/// begun prompts compete for the last tokens of a budget (only possible with long_prefill_token_threshold),
/// decodes come first here, while vLLM goes by admission.
class VllmV1 final : public Scheduler {
 public:
  using Scheduler::Scheduler;

 private:
  void decide(BatchPlan& plan) override { plan_mixed(plan); }
};

const Registration<Schedulers> vllm_v1{
    "vllm-v1", "one token budget; running first, then waiting; chunked prefill; preempt by recompute",
    [](SchedulerConfig c, const KvConfig& kv, std::vector<KeyCap> caps) -> std::unique_ptr<Scheduler> {
      return std::make_unique<VllmV1>(std::move(c), kv, std::move(caps));
    }};

}  // namespace
}  // namespace orrery
