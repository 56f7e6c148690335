#include "collectives.hpp"
#include "component.hpp"
#include "ops/kernel_classes.hpp"

// Collectives among the GPUs of one machine through NCCL, driven by one process, as a tensor-parallel step
// issues them. Bound by launch latency, then by the links.

namespace orrery::kernels {
namespace {

Collective kind_of(const KernelClass& cls) {
  return &cls == &kAllGather  ? Collective::all_gather
         : &cls == &kSendRecv ? Collective::send_recv
                              : Collective::all_reduce;
}

class CollectiveInstance final : public Instance {
 public:
  CollectiveInstance(Collective what, int ranks, std::size_t bytes)
      : what_(what), bytes_(bytes), group_(ranks, bytes) {}
  void launch(StreamRef) override { group_.run(what_, bytes_); }
  double measure() override { return group_.run(what_, bytes_); }
  Check check() override { return {group_.check(what_, bytes_), 0}; }

 private:
  Collective what_;
  std::size_t bytes_;
  RankGroup group_;
};

class Collectives final : public Component {
 public:
  std::string_view source() const override { return "NCCL"; }
  Timing timing(const Case&) const override { return Timing::own; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const double kib : {64.0, 1024.0, 8.0, 16384.0, 256.0, 131072.0, 1.0}) {
      for (const double ranks : {2, 4, 8}) {
        for (const auto* cls : {&kAllReduceNccl, &kAllGather, &kSendRecv}) {
          if (cls != &kSendRecv || ranks == 2) cases.push_back(of(*cls, ranks, kib * 1024));
        }
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {of(kAllReduceNccl, 2, 4096), of(kAllGather, 2, 4096), of(kSendRecv, 2, 4096)};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    for (const auto* cls : {&kAllReduceNccl, &kAllGather, &kSendRecv}) {
      if (cls == call.cls) return {of(*cls, call.dims[0], call.dims[1])};
    }
    return {};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo&) const override {
    std::string why;
    const int ranks = RankGroup::available(&why);
    if (ranks >= static_cast<int>(c.call.dims[0])) return std::nullopt;
    return why.empty() ? "only " + std::to_string(ranks) + " GPUs" : why;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<CollectiveInstance>(kind_of(*c.call.cls), static_cast<int>(c.call.dims[0]),
                                                static_cast<std::size_t>(c.call.dims[1]));
  }

 private:
  static Case of(const KernelClass& cls, double ranks, double bytes) {
    Case c;
    c.call = make_call(cls, {ranks, bytes}, DType::bf16, DType::bf16);
    c.call.lane = Lane::comm;
    c.variant = "nccl";
    return c;
  }
};

const Collectives component;

}  // namespace

const Registration<Components> collectives{
    "collectives", "all-reduce, all-gather and send/receive among GPUs by NCCL", &component};

}  // namespace orrery::kernels
