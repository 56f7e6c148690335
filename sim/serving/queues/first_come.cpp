#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

class FirstCome final : public QueuePolicy {
 public:
  bool before(const Sequence& a, const Sequence& b) const override {
    return arrived_before(a.request, b.request);
  }
  bool first_come() const override { return true; }
};

/// vLLM's priority scheduling: a lower number first, whatever came before.
class Priority final : public QueuePolicy {
 public:
  bool before(const Sequence& a, const Sequence& b) const override {
    if (a.request.priority != b.request.priority) return a.request.priority < b.request.priority;
    return arrived_before(a.request, b.request);
  }
};

const Registration<QueuePolicies> fcfs{
    "fcfs", "first come, first served",
    [](const QueueParams&, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<FirstCome>();
    }};
const Registration<QueuePolicies> priority{
    "priority", "a lower priority number first",
    [](const QueueParams&, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<Priority>();
    }};

}  // namespace
}  // namespace orrery
