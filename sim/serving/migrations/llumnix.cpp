#include <algorithm>
#include <numeric>

#include "serving/migration_policy.hpp"

namespace orrery {
namespace {

/// Llumnix (Sun et al., OSDI 2024, section 4.4.3): the replica with the least freeness sends to the one with
/// the most, the next to the next, as long as the one is below the threshold and the other is not; the least
/// important sequence goes, of equals the shortest. Load is balanced, memory de-fragmented, a draining
/// replica emptied and room kept beside urgent sequences by the same rule.
class Llumnix final : public MigrationPolicy {
 public:
  explicit Llumnix(const MigrationParams& params) : threshold_(params.threshold_blocks) {}

  std::vector<std::pair<int, int>> pairs(std::span<const double> freeness) const override {
    std::vector<int> order(freeness.size());
    std::iota(order.begin(), order.end(), 0);
    const auto of = [&](int i) { return freeness[static_cast<std::size_t>(i)]; };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return of(a) < of(b); });
    std::vector<std::pair<int, int>> out;
    for (std::size_t i = 0, j = order.size(); i + 1 < j; ++i) {
      const int from = order[i], to = order[--j];
      if (of(from) >= threshold_ || of(to) < threshold_) break;
      out.emplace_back(from, to);
    }
    return out;
  }

  std::size_t choose(std::span<const MigrationCandidate> candidates) const override {
    const auto goes_before = [](const MigrationCandidate& a, const MigrationCandidate& b) {
      if (a.priority != b.priority) return a.priority > b.priority;
      return a.tokens != b.tokens ? a.tokens < b.tokens : a.id < b.id;
    };
    return static_cast<std::size_t>(std::min_element(candidates.begin(), candidates.end(), goes_before) -
                                    candidates.begin());
  }

 private:
  double threshold_;
};

const Registration<MigrationPolicies> llumnix{
    "llumnix", "from the replicas with the least room per sequence to those with the most, shortest first",
    [](const MigrationParams& p) -> std::unique_ptr<MigrationPolicy> {
      return std::make_unique<Llumnix>(p);
    }};

}  // namespace
}  // namespace orrery
