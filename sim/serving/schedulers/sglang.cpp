#include <algorithm>

#include "serving/scheduler.hpp"

namespace orrery {
namespace {

/// SGLang without mixed chunks: whoever can be prefilled is, in a batch of its own, while decoding waits;
/// else the decode set steps. Admission leaves room for a share (new_token_ratio) of the output that the
/// running set may still write. max_num_batched_tokens is its chunked_prefill_size. First version: FCFS
/// order, constant ratio, recompute on shortage.
class Sglang final : public Scheduler {
 public:
  using Scheduler::Scheduler;

 private:
  void decide(BatchPlan& plan) override {
    if (config_.enable_mixed_chunk) return plan_mixed(plan);
    const Tokens budget = plan_prefills(plan, config_.max_num_batched_tokens);
    if (plan.preempted.empty()) plan_admissions(plan, budget);
    if (plan.chunks.empty()) plan_decodes(plan);
  }
  bool may_admit(const Sequence& seq) const override {
    const auto clipped = std::min<Tokens>(seq.request.output_tokens, 4096);  // SGLang's CLIP_MAX_NEW_TOKENS
    const double reserve = config_.new_token_ratio * static_cast<double>(tokens_to_come() + clipped);
    const double room = static_cast<double>((kv_.free_blocks() - most_blocks(seq.target)) * kv_.block_size());
    return running() == 0 || reserve * kv_.groups().full() <= room;
  }
  /// What the running set may still write shrinks with every step.
  bool blocked_stays_blocked() const override { return config_.new_token_ratio == 0.0; }
};

const Registration<Schedulers> sglang{
    "sglang",
    "prefill batches first, decoding waits for them unless chunks are mixed; reserves a share of outputs",
    [](SchedulerConfig c, const KvConfig& kv, std::vector<KeyCap> caps) -> std::unique_ptr<Scheduler> {
      return std::make_unique<Sglang>(std::move(c), kv, std::move(caps));
    }};

}  // namespace
}  // namespace orrery
