#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.hpp"
#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

/// Skip-join multi-level feedback queues (FastServe: Wu et al., Fast Distributed Inference Serving for Large
/// Language Models, 2023, section 4.1). A request joins the highest queue whose quantum is no shorter than
/// its first iteration, which its prompt's length foretells, and sinks by one queue for each quantum it has
/// been served; within a queue who arrived first comes first. Service is reckoned from the profiled times,
/// since a policy has no clock.
class SkipJoinFeedback final : public QueuePolicy {
 public:
  explicit SkipJoinFeedback(const QueueParams& p)
      : iteration_s_(p.mlfq_iteration_s),
        token_s_(p.mlfq_prompt_token_s),
        starvation_s_(p.mlfq_starvation_s) {
    if (p.mlfq_queues < 1 || p.mlfq_ratio < 1)
      throw ConfigError("mlfq needs at least one queue, and quanta that do not shrink");
    double quantum = p.mlfq_quantum_s > 0 ? p.mlfq_quantum_s : iteration_s_;
    for (int i = 0; i < p.mlfq_queues; ++i, quantum *= p.mlfq_ratio) quanta_.push_back(quantum);
  }

  bool before(const Sequence& a, const Sequence& b) const override {
    const std::size_t queue_a = queue_of(a), queue_b = queue_of(b);
    return queue_a != queue_b ? queue_a < queue_b : arrived_before(a.request, b.request);
  }
  bool changes() const override { return true; }

  void waits(const Sequence& seq) override {
    waiting_since_[seq.request.id] = served_s_;
    lifted_at_.erase(seq.request.id);
  }
  void admitted(const Sequence& seq) override {
    if (starved(seq)) lifted_at_[seq.request.id] = service(seq);
    waiting_since_.erase(seq.request.id);
  }
  void decodes(const Sequence& seq, int change) override {
    if (change < 0 && tokens(seq) >= seq.request.output_tokens) lifted_at_.erase(seq.request.id);
  }
  void served(int /*lane*/, Tokens each) override {
    clock_ += each;
    served_s_ += iteration_s_ * static_cast<double>(each);
  }

 private:
  Tokens tokens(const Sequence& seq) const {
    return seq.generated + (seq.state == Sequence::State::decoding ? clock_ - seq.joined : 0);
  }
  double first_iteration_s(const Sequence& seq) const {
    return token_s_ * static_cast<double>(seq.request.prompt_tokens);
  }
  /// Seconds of service so far: its first iteration, and one for each further token.
  double service(const Sequence& seq) const {
    const Tokens got = tokens(seq);
    return got == 0 ? 0 : first_iteration_s(seq) + iteration_s_ * static_cast<double>(got - 1);
  }
  bool starved(const Sequence& seq) const {
    const auto since = waiting_since_.find(seq.request.id);
    return starvation_s_ > 0 && since != waiting_since_.end() && served_s_ - since->second >= starvation_s_;
  }
  std::size_t queue_of(const Sequence& seq) const {
    if (starved(seq)) return 0;
    double left = service(seq);
    std::size_t queue = 0;
    if (const auto lifted = lifted_at_.find(seq.request.id); lifted != lifted_at_.end()) {
      left -= lifted->second;
    } else {
      while (queue + 1 < quanta_.size() && quanta_[queue] < first_iteration_s(seq)) ++queue;
    }
    for (; queue + 1 < quanta_.size() && left >= quanta_[queue]; ++queue) left -= quanta_[queue];
    return queue;
  }

  double iteration_s_, token_s_, starvation_s_;
  std::vector<double> quanta_;
  Tokens clock_ = 0;     ///< as the decode pool's
  double served_s_ = 0;  ///< time of iterations so far
  std::map<RequestId, double> waiting_since_, lifted_at_;
};

const Registration<QueuePolicies> mlfq{
    "mlfq", "feedback queues: the longer served, the later; long prompts join further down (FastServe)",
    [](const QueueParams& c, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<SkipJoinFeedback>(c);
    }};

}  // namespace
}  // namespace orrery
