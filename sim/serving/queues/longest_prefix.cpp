#include <algorithm>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "serving/kv_cache.hpp"
#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

/// Ranks those who wait anew at each decision by what the prefix cache holds then.
class CacheAware : public QueuePolicy {
 public:
  explicit CacheAware(const KvCache& kv) : kv_(kv) {}
  bool before(const Sequence& a, const Sequence& b) const override {
    const std::int64_t rank_a = rank(a), rank_b = rank(b);
    return rank_a != rank_b ? rank_a < rank_b : arrived_before(a.request, b.request);
  }
  bool changes() const override { return true; }
  bool ranks_running() const override { return false; }

 protected:
  /// The lower, the sooner.
  virtual std::int64_t rank(const Sequence& seq) const = 0;

  const KvCache& kv_;
};

/// The longest cached prefix first (Zheng et al., NeurIPS 2024, section 3, as SGLang's `lpm`). Beyond 128
/// waiting requests as they came, for matching all of them takes a scheduler too long. SGLang also puts off
/// requests that share a prefix with another who waits and is not cached yet; not here.
class LongestPrefix final : public CacheAware {
 public:
  using CacheAware::CacheAware;
  bool as_they_came() const override { return waiting_ > kMostMatched; }
  void decides() override { matched_.clear(); }
  void waits(const Sequence& /*seq*/) override { ++waiting_; }
  void admitted(const Sequence& /*seq*/) override { --waiting_; }

 private:
  static constexpr std::int64_t kMostMatched = 128;

  std::int64_t rank(const Sequence& seq) const override {
    if (!seq.request.prefix && seq.preemptions == 0) return 0;
    const auto [at, fresh] = matched_.try_emplace(seq.request.id);
    if (fresh) at->second = kv_.lookup(seq).tokens;
    return -at->second;
  }

  std::int64_t waiting_ = 0;
  mutable std::unordered_map<RequestId, Tokens> matched_;  ///< in this decision
};

/// Depth first through the tree of the prefixes of those who wait, the branch that most of them share first
/// (after SGLang's `dfs-weight`): one after the other, each finds the whole path that it shares with the one
/// before (Zheng et al., theorem 3.1).
class DepthFirst final : public CacheAware {
 public:
  using CacheAware::CacheAware;
  void waits(const Sequence& seq) override {
    waiting_.emplace(seq.request.id, seq.request.prefix);
    ranked_ = false;
  }
  void admitted(const Sequence& seq) override { waiting_.erase(seq.request.id); }
  void decides() override {
    if (std::exchange(ranked_, true)) return;
    ranks_.clear();
    visit({waiting_.begin(), waiting_.end()}, 0);
  }

 private:
  using Keys = std::shared_ptr<const PrefixKeys>;
  using Waiting = std::vector<std::pair<RequestId, Keys>>;

  /// Ranks those who share their first `depth` ids.
  void visit(Waiting group, std::size_t depth) {
    for (;; ++depth) {
      std::map<std::uint64_t, Waiting> branches;
      for (auto& [id, keys] : group) {
        if (!keys || keys->ids.size() <= depth) {
          ranks_.emplace(id, std::ssize(ranks_));
        } else {
          branches[keys->ids[depth]].emplace_back(id, std::move(keys));
        }
      }
      if (branches.size() == 1) {
        group = std::move(branches.begin()->second);
        continue;
      }
      std::vector<Waiting*> heaviest;
      for (auto& [key, branch] : branches) heaviest.push_back(&branch);
      std::stable_sort(heaviest.begin(), heaviest.end(),
                       [](const Waiting* a, const Waiting* b) { return a->size() > b->size(); });
      for (Waiting* branch : heaviest) visit(std::move(*branch), depth + 1);
      return;
    }
  }
  std::int64_t rank(const Sequence& seq) const override { return ranks_.at(seq.request.id); }

  std::map<RequestId, Keys> waiting_;
  bool ranked_ = false;  ///< nobody came since: the walk goes on
  std::unordered_map<RequestId, std::int64_t> ranks_;
};

const Registration<QueuePolicies> lpm{
    "lpm", "the longest cached prefix first; as they came while more than 128 wait",
    [](const QueueParams&, const KvCache& kv) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<LongestPrefix>(kv);
    }};
const Registration<QueuePolicies> dfs_weight{
    "dfs-weight", "depth first through the tree of waiting prefixes, the most shared branch first",
    [](const QueueParams&, const KvCache& kv) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<DepthFirst>(kv);
    }};

}  // namespace
}  // namespace orrery
