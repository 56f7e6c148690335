#include <algorithm>

#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// Batches of requests, as FasterTransformer and a loop around Hugging Face's generate() run them: a batch is
/// formed of those waiting when the one before has ended, its prompts are computed, then it decodes until its
/// longest answer is complete; nobody joins meanwhile. What stands in for answers that ended early is not
/// computed here, and each answer is returned when it is complete, so that both come out better than there.
class RequestLevel final : public Preallocating {
 public:
  using Preallocating::Preallocating;

 private:
  void decide(BatchPlan& plan) override {
    if (running() == 0) to_join_ = std::min(waiting(), config_.max_num_seqs);
    const Tokens budget = plan_prefills(plan, config_.max_num_batched_tokens);
    full_at_ = running() + to_join_;
    if (to_join_ > 0 && plan.preempted.empty()) plan_admissions(plan, budget);
    to_join_ -= static_cast<std::int64_t>(plan.admitted.size());
    if (!plan.chunks.empty()) return;
    to_join_ = 0;
    plan_decodes(plan);
  }
  bool may_admit(const Sequence& seq) const override {
    return running() < full_at_ && Preallocating::may_admit(seq);
  }

  std::int64_t to_join_ = 0;  ///< of those that waited when the batch was formed; their prompts take turns
  std::int64_t full_at_ = 0;
};

const Registration<Schedulers> request_level{
    "static", "request-level batches: nobody joins until all have ended; reserves max_model_len for each",
    make_policy<RequestLevel>};

}  // namespace
}  // namespace orrery
