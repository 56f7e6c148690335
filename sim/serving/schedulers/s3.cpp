#include <algorithm>

#include "base/error.hpp"
#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// S3 (Jin et al., NeurIPS 2023, section 4): a predictor says in which of some classes an answer's length
/// falls, and memory for the longest answer of that class is set aside. Who writes more is preempted and
/// comes back with twice as much. Iterations as Orca's: whole prompts beside decodes. Classes are equal parts
/// of max_model_len here. Requests are taken in the queue's order, where the paper packs those that wait by
/// falling length; preempted ones are computed again.
class S3 final : public Scheduler {
 public:
  S3(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Scheduler(whole_prompts(std::move(config)), kv, std::move(caps)),
        bucket_(std::max<Tokens>(
            2, (config_.max_model_len + config_.length_buckets - 1) / std::max(1, config_.length_buckets))) {
    if (!config_.decoder.plain())
      throw ConfigError("scheduler 's3' and speculation are not modelled together",
                        "no --speculative-config");
  }
  bool reserves() const override { return true; }

 private:
  static SchedulerConfig whole_prompts(SchedulerConfig config) {
    config.enable_chunked_prefill = false;
    config.long_prefill_token_threshold = 0;
    config.max_num_batched_tokens = std::max(config.max_num_batched_tokens, config.max_model_len);
    return config;
  }
  void decide(BatchPlan& plan) override {
    give_way_overrun(plan);
    plan_decodes(plan);
    plan_admissions(plan, plan_prefills(plan, config_.max_num_batched_tokens));
  }
  bool may_admit(const Sequence& seq) const override {
    return committed_blocks() + commitment(seq) <= kv_.total_blocks();
  }
  /// The longest answer of the class predicted, doubled as often as it was not enough.
  Tokens allotted(const Sequence& seq) const override {
    const auto predicted = static_cast<Tokens>(predicted_output(seq.request, config_.queue));
    const Tokens longest = std::max<Tokens>(1, config_.max_model_len - seq.request.prompt_tokens);
    Tokens room = (std::min(predicted, longest) + bucket_ - 1) / bucket_ * bucket_;
    room = std::max(room, bucket_);
    for (int i = 0; i < seq.preemptions && room < longest; ++i) room *= 2;
    return std::min(room, longest);
  }
  std::int64_t commitment(const Sequence& seq) const override {
    return std::min(most_blocks(seq.request.prompt_tokens + allotted(seq) - 1), kv_.total_blocks());
  }

  Tokens bucket_;  ///< length of a class
};

const Registration<Schedulers> s3{
    "s3", "sets memory aside for the predicted class of an answer's length; a wrong one preempts and doubles",
    make_policy<S3>};

}  // namespace
}  // namespace orrery
