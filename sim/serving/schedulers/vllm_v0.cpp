#include "serving/prompts_first.hpp"
#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// vLLM's first scheduler (v0, without chunked prefill): whoever can be prefilled is, whole prompts in a step
/// of their own while decoding waits; else all decode. 1% of the blocks stay free at admission (its
/// watermark). Preempted requests are computed again, its default for one answer per prompt, or swapped out
/// (preemption_mode). The budget of prompts is no less than max_model_len, as v0 demands.
class VllmV0 final : public PromptsFirst {
  using PromptsFirst::PromptsFirst;

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
