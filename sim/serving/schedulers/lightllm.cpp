#include <algorithm>
#include <utility>
#include <vector>

#include "serving/prompts_first.hpp"
#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// LightLLM's router: whole prompts in steps of their own while decoding waits, and admission by the most
/// tokens that those running would come to hold together if nobody joined (its request queue's
/// need_max_token_num). The one with the k-th most tokens to come ends when each of the k has gained as many:
/// what they store now and k times that must fit. With blocks of one token nobody is ever preempted. A batch
/// of prompts has max_num_batched_tokens (its batch_max_tokens).
class LightLlm final : public PromptsFirst {
  using PromptsFirst::PromptsFirst;

  bool may_admit(const Sequence& seq) const override {
    return running() == 0 || peak_with(seq) <= kv_.total_blocks() * kv_.block_size();
  }
  /// Who ends makes room for the tokens of those who stay.
  bool blocked_stays_blocked() const override { return false; }

  Tokens peak_with(const Sequence& seq) const {
    std::vector<std::pair<Tokens, Tokens>> ends;  ///< tokens to come, stored now
    const auto add = [&](const Sequence& s, Tokens stored) {
      // The last token of an answer is not stored.
      ends.emplace_back(Tokens{s.request.prompt_tokens} + s.request.output_tokens - 1 - stored, stored);
    };
    for_each_running(add);
    add(seq, seq.target);
    std::sort(ends.rbegin(), ends.rend());
    Tokens peak = 0, stored = 0, count = 0;
    for (const auto& [to_come, now] : ends) {
      stored += now;
      peak = std::max(peak, stored + ++count * to_come);
    }
    return peak;
  }
};

const Registration<Schedulers> lightllm{
    "lightllm", "whole prompts first; admits by the most tokens that those running would come to hold",
    make_policy<LightLlm>};

}  // namespace
}  // namespace orrery
