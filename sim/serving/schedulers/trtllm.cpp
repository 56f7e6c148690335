#include "serving/scheduler.hpp"

namespace orrery {
namespace {

/// TensorRT-LLM in-flight batching with GUARANTEED_NO_EVICT: a request is admitted only if its prompt and
/// full output fit beside those of everyone running, so nobody is ever preempted. Context and generation
/// share a step.
class Trtllm final : public Scheduler {
 public:
  using Scheduler::Scheduler;
  bool reserves() const override { return true; }

 private:
  void decide(BatchPlan& plan) override { plan_mixed(plan); }
  bool may_admit(const Sequence& seq) const override {
    return committed_blocks() + max_blocks(seq) <= kv_.total_blocks();
  }
};

const Registration<Schedulers> trtllm{
    "trtllm", "in-flight batching, GUARANTEED_NO_EVICT: admits only what fits with its whole output",
    [](SchedulerConfig c, const KvConfig& kv, std::vector<KeyCap> caps) -> std::unique_ptr<Scheduler> {
      return std::make_unique<Trtllm>(std::move(c), kv, std::move(caps));
    }};

}  // namespace
}  // namespace orrery
