#include "cost/offload_cost.hpp"

#include <algorithm>
#include <utility>

#include "cost/roofline.hpp"
#include "ops/copies.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

KernelCostModelPtr host_cost(const HostProfile& host, const HostEfficiency& efficiency) {
  DeviceProfile cores;
  cores.name = host.name;
  cores.vector_flops_per_s = host.flops_per_s;
  cores.memory_bandwidth_bytes_per_s = host.memory_bandwidth_bytes_per_s;
  AnalyticEfficiency reached = AnalyticEfficiency::ideal();
  // Cores have no matrix units of their own here: products run at the rate of the vector units.
  reached.tensor = reached.vector = efficiency.vector;
  reached.memory = efficiency.memory;
  return std::make_shared<RooflineModel>(std::move(cores), Topology{}, reached);
}

namespace {

class CostWith final : public KernelCostModel {
 public:
  CostWith(KernelCostModelPtr other, std::function<double(const KernelCall&)> price)
      : other_(std::move(other)), price_(std::move(price)) {}
  KernelTime price(const KernelCall& call) const override {
    const double seconds = price_(call);
    return seconds < 0 ? other_->price(call) : KernelTime{Seconds(seconds), Provenance::analytic};
  }
  ClassError error(const KernelClass& cls, Provenance provenance) const override {
    return other_->error(cls, provenance);
  }
  std::vector<CalibratedRange> ranges(const KernelCall& like) const override { return other_->ranges(like); }
  std::vector<std::string> sources() const override { return other_->sources(); }

 private:
  KernelCostModelPtr other_;
  std::function<double(const KernelCall&)> price_;
};

}  // namespace

KernelCostModelPtr cost_with(KernelCostModelPtr other, std::function<double(const KernelCall&)> price) {
  return std::make_shared<CostWith>(std::move(other), std::move(price));
}

namespace {

/// The same product over a share of the neurons: of its outputs, or of its inputs.
KernelCall part_of(KernelCall call, std::size_t neurons, double share) {
  call.dims[neurons] *= share;
  call.work = call.cls->work(call.dims, call.dtype, call.weight_dtype);
  return call;
}

/// Times of a feed-forward's matrices with neurons on both sides.
class SplitNeurons {
 public:
  SplitNeurons(KernelCostModelPtr gpu, const Offload& offload)
      : gpu_(std::move(gpu)), host_(host_cost(offload.host)), split_(offload.policy.neurons) {}

  double operator()(const KernelCall& call) const {
    const bool up = call.role == "gate_up_proj", down = call.role == "down_proj";
    if (call.cls != &kGemm || !(up || down)) return -1;
    const double tokens = call.dims[0];
    const std::size_t neurons = up ? 1 : 2, others = up ? 2 : 1;
    const double hot = split_.hot_computed(tokens), cold = split_.cold_computed(tokens);
    double on_gpu = hot > 0 ? seconds(*gpu_, part_of(call, neurons, hot)) : 0;
    if (up && split_.predictor > 0) on_gpu += predicting(call);
    if (cold == 0) return on_gpu;
    const double bytes = tokens * call.dims[others] * bytes_per_element(activation_format(call.dtype));
    const KernelClass& copy = up ? kCopyD2H : kCopyH2D;
    const double on_host = seconds(*host_, part_of(call, neurons, cold)) +
                           seconds(*gpu_, make_call(copy, {bytes, 1}, call.dtype, call.dtype));
    return std::max(on_gpu, on_host);
  }

 private:
  static double seconds(const KernelCostModel& cost, const KernelCall& call) {
    return cost.price(call).time.value;
  }
  /// A gated layer's two columns of a neuron are foretold at once.
  double predicting(const KernelCall& up) const {
    const double tokens = up.dims[0], hidden = up.dims[2], width = static_cast<double>(split_.predictor);
    return seconds(*gpu_, make_call(kGemm, {tokens, width, hidden}, up.dtype, up.dtype)) +
           seconds(*gpu_, make_call(kGemm, {tokens, up.dims[1], width}, up.dtype, up.dtype));
  }

  KernelCostModelPtr gpu_, host_;
  NeuronSplit split_;
};

KernelCostModelPtr attention_on_host(KernelCostModelPtr gpu, const Offload& offload) {
  const double share = offload.policy.kv.gpu();
  if (!offload.policy.host_attention || share == 1) return gpu;
  return cost_with(gpu, [gpu, share](const KernelCall& call) {
    if (call.cls->scaling != KernelClass::Scaling::decode) return -1.0;
    return share > 0 ? share * gpu->price(call).time.value : 0.0;
  });
}

}  // namespace

KernelCostModelPtr cost_beside_host(KernelCostModelPtr gpu, const Offload& offload) {
  if (!offload.policy.neurons.none()) {
    const SplitNeurons split(gpu, offload);
    gpu = cost_with(std::move(gpu), split);
  }
  return attention_on_host(std::move(gpu), offload);
}

}  // namespace orrery
