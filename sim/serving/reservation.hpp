#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "serving/scheduler.hpp"

namespace orrery {

/// A scheduler that sets aside, when it admits a request, the KV blocks of a sequence of max_model_len
/// tokens, as engines did that kept each sequence's keys and values in one piece (Kwon et al., SOSP 2023,
/// section 3.1). Blocks are still counted as tokens fill them, so that KvCache::used_blocks() beside
/// reserved_blocks() says what the reservation wastes; nobody is ever preempted.
class Preallocating : public Scheduler {
 public:
  /// Errors: ConfigError when not even one such sequence fits.
  Preallocating(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps);

  bool reserves() const override { return true; }

 protected:
  std::int64_t commitment(const Sequence& /*seq*/) const override { return blocks_each_; }
  bool may_admit(const Sequence& /*seq*/) const override {
    return committed_blocks() + blocks_each_ <= kv_.total_blocks();
  }

 private:
  std::int64_t blocks_each_;  ///< the most that a sequence of max_model_len tokens comes to hold
};

/// A Registration's way to make a `Policy`, which is constructed as Scheduler is.
template <class Policy>
std::unique_ptr<Scheduler> make_policy(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps) {
  return std::make_unique<Policy>(std::move(config), kv, std::move(caps));
}

}  // namespace orrery
