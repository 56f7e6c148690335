#include <algorithm>

#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

/// Earliest deadline first (Liu and Layland, 1973): a request's first token is due so long after its arrival
/// as its priority class may wait.
class EarliestDeadline final : public QueuePolicy {
 public:
  explicit EarliestDeadline(const QueueParams& params) {
    for (const double seconds : params.deadlines_s) waits_.push_back(to_ps(Seconds(seconds)));
    if (waits_.empty()) {
      throw ConfigError("scheduling_policy 'edf' needs deadlines",
                        "--deadlines 500ms,5s: by when the first token of priorities 0, 1, ... is due");
    }
  }
  bool before(const Sequence& a, const Sequence& b) const override {
    const Ps due_a = due(a.request), due_b = due(b.request);
    return due_a != due_b ? due_a < due_b : arrived_before(a.request, b.request);
  }

  Ps due(const Request& r) const override {
    const auto last = static_cast<std::int32_t>(waits_.size()) - 1;
    return r.arrival + waits_[static_cast<std::size_t>(std::clamp(r.priority, 0, last))];
  }

 private:
  std::vector<Ps> waits_;
};

const Registration<QueuePolicies> edf{
    "edf", "earliest deadline first: arrival and what its priority class may wait (deadlines)",
    [](const QueueParams& c, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<EarliestDeadline>(c);
    }};

}  // namespace
}  // namespace orrery
