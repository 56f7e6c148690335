#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// Orca (Yu et al., OSDI 2022, algorithm 1): each iteration is scheduled anew, first come, first served, so
/// that requests join and leave between iterations. Prompts are computed whole, beside the decodes: all
/// operators but attention see one batch of tokens (selective batching). A request is admitted when a
/// sequence of max_model_len tokens can be set aside for it, and at most max_num_seqs run (max_bs). Prompts
/// of one iteration come to at most max_num_batched_tokens, so that their activations have room.
class Orca final : public Preallocating {
 public:
  Orca(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Preallocating(whole_prompts(std::move(config)), kv, std::move(caps)) {}

 private:
  static SchedulerConfig whole_prompts(SchedulerConfig config) {
    config.enable_chunked_prefill = false;
    config.long_prefill_token_threshold = 0;
    return config;
  }
  void decide(BatchPlan& plan) override {
    plan_decodes(plan);
    plan_admissions(plan, plan_prefills(plan, config_.max_num_batched_tokens));
  }
};

const Registration<Schedulers> orca{
    "orca", "iteration-level: whole prompts beside decodes, first come, first served; reserves max_model_len",
    make_policy<Orca>};

}  // namespace
}  // namespace orrery
