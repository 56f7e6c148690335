#pragma once

#include <memory>
#include <vector>

#include "cost/kernel_cost_model.hpp"
#include "cost/step_pricer.hpp"
#include "des/simulation.hpp"

namespace orrery::test {

/// A device whose kernels take 1 us plus an ideal roofline: simple enough to derive prices by hand.
class PlainCost final : public KernelCostModel {
 public:
  KernelTime price(const KernelCall& call) const override {
    return {Seconds(1e-6 + call.work.flops() / 500e12 + call.work.hbm_bytes() / 2e12 +
                    call.work.link_bytes / 200e9),
            Provenance::analytic};
  }
  ClassError error(const KernelClass&, Provenance) const override { return {0.05, 0.15, 0.08}; }
  std::vector<std::string> sources() const override { return {"test"}; }
};

inline std::shared_ptr<StepPricer> pricer(const ModelSpec& model, KernelPlan plan, Shard shard,
                                          Offload offload = {}) {
  DeviceProfile device;
  device.name = "test";
  device.tensor_flops_per_s.fill(500e12);
  device.memory_bandwidth_bytes_per_s = 2e12;
  device.sm_count = 100;
  return std::make_shared<StepPricer>(model, shard, device, Topology{}, std::move(plan),
                                      std::make_shared<PlainCost>(), Drafting{}, Image{}, std::move(offload));
}
inline std::shared_ptr<StepPricer> pricer(const ModelSpec& model, KernelPlan plan, int tp = 1) {
  Shard shard;
  shard.tp = tp;
  return pricer(model, std::move(plan), shard);
}

/// Keeps everything a request was told.
class Records final : public Observer {
 public:
  std::vector<RequestRecord> all;
  std::vector<ReplicaChange> changes;
  std::vector<Retry> retries;
  std::int64_t tokens = 0, steps = 0;
  void on_request_done(const RequestRecord& r) override { all.push_back(r); }
  void on_replica(const ReplicaChange& c) override { changes.push_back(c); }
  void on_retry(const Retry& r) override { retries.push_back(r); }
  void on_decode_run(const DecodeRun& r) override { tokens += r.tokens(), steps += r.steps; }
  void on_mixed_step(const MixedStep& s) override {
    tokens += s.decode_seqs + s.extra_tokens, ++steps;
    for (const auto& c : s.chunks) tokens += c.last;
  }
};

/// A list of requests, in order of arrival.
class ListSource final : public RequestSource {
 public:
  explicit ListSource(std::vector<Request> requests) : requests_(std::move(requests)) {}
  bool next(Request& out) override {
    if (at_ == requests_.size()) return false;
    out = requests_[at_++];
    return true;
  }

 private:
  std::vector<Request> requests_;
  std::size_t at_ = 0;
};

}  // namespace orrery::test
