#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "des/engine_core.hpp"
#include "des/replica.hpp"

namespace orrery {

/// Engine cores that make every step together: the data-parallel ranks of a mixture of experts, each with a
/// scheduler and a KV cache of its own, or one core alone. A step takes as long as the slowest rank's; one
/// without work computes a token that nobody asked for, so that the others' experts are not kept waiting
/// (vLLM v1: DPEngineCoreProc.execute_dummy_batch). While all ranks decode unchanged sets and the slowest
/// stays the slowest, k steps are one event, whose end follows from the affine price.
class LockstepReplica final : public Replica {
 public:
  LockstepReplica(int index, const ReplicaConfig& config, const CoreContext& context);

  void enqueue(const Request& request, Ps now) override;
  void expect(const Request& request, Ps now) override;
  void receive(const SequenceHandle& sequence, const Prefilled& before, Ps now) override;
  void release(const SequenceHandle& sequence, Ps now) override;
  void evacuate(Ps now, std::vector<Evacuated>& out) override;
  void resume(const Evacuated& begun, bool kv_kept, Ps now) override;
  void catch_up(Ps now) override;
  EngineCore* core(int index) override {
    return index < std::ssize(cores_) ? &cores_[static_cast<std::size_t>(index)] : nullptr;
  }
  void look_again(Ps now) override;
  void loaded(const SequenceHandle& sequence, Ps now) override;
  void count_tiers(std::vector<KvTierCounts>& sums) const override;
  Ps next_event() const override { return wake_ != kNever ? wake_ : end_; }
  void on_event(Ps now) override;
  std::int64_t waiting() const override;
  std::int64_t kv_blocks_free() const override;
  Tokens cached_tokens(const Request& request) const override;
  Ps busy() const override { return busy_; }

 private:
  void settle(Ps now);
  void begin(Ps now);
  void decide_run(Ps now);
  AffinePrice slowest();
  std::size_t choose_core(Ps now);

  std::deque<EngineCore> cores_;  // observers and events hold on to them: they must not move
  const CoreContext context_;
  const int index_;
  std::shared_ptr<StepPricer> pricer_;
  std::vector<RankStep> ranks_;
  std::vector<AffinePrice> prices_;
  StepPeers peers_;
  std::size_t leader_ = 0;  ///< the rank that the others wait for
  StepRun run_;             ///< in flight while end_ != kNever
  Ps end_{kNever}, wake_{kNever}, busy_{0};
  bool stopped_ = false;  ///< evacuated

  /// What the balancer knows of each rank: counts of a moment ago, and what it sent since.
  struct RankLoad {
    std::int64_t waiting = 0, running = 0;
  };
  std::vector<RankLoad> loads_;
  Ps loads_at_{kNever};
};

}  // namespace orrery
