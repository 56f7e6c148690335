#include "cost/roofline.hpp"

#include <algorithm>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

AnalyticEfficiency AnalyticEfficiency::ideal() {
  AnalyticEfficiency e{1.0, 1.0, 1.0, 1.0, 0.0, 0.0, {}};
  e.collectives = {0.0, 0.0, 0.0, 1.0};
  return e;
}

RooflineModel::RooflineModel(DeviceProfile device, Topology topology, AnalyticEfficiency efficiency)
    : device_(std::move(device)), topology_(std::move(topology)), efficiency_(efficiency) {
  ORRERY_CHECK(device_.memory_bandwidth_bytes_per_s > 0, "a device has a memory bandwidth");
}

/// A format the matrix units lack runs in bf16 after conversion, as engines do (weight-only kernels).
double RooflineModel::tensor_peak(DType t) const {
  if (const double peak = device_.tensor_peak(t); peak > 0) return peak;
  if (const double peak = device_.tensor_peak(DType::bf16); peak > 0) return peak;
  return device_.tensor_peak(DType::fp16) > 0 ? device_.tensor_peak(DType::fp16) : device_.vector_flops_per_s;
}

KernelTime RooflineModel::price(const KernelCall& call) const {
  const Work& w = call.work;
  if (call.cls == &kSendRecvNetwork) {
    return {efficiency_.collectives.network_time(w.link_bytes, device_, topology_), Provenance::analytic};
  }
  if (is_collective(*call.cls)) {
    return {efficiency_.collectives.time(ranks_of(call), w.link_bytes, device_, topology_, spacing_of(call)),
            Provenance::analytic};
  }
  if (is_exchange(*call.cls)) {
    return {efficiency_.collectives.exchange_time(ranks_of(call), w.link_bytes, device_, topology_),
            Provenance::analytic};
  }
  double t = w.hbm_bytes() / (device_.memory_bandwidth_bytes_per_s * efficiency_.memory);
  if (w.tensor_flops > 0) {
    t = std::max(t, w.tensor_flops / (tensor_peak(w.tensor_dtype) * efficiency_.tensor));
  }
  if (w.vector_flops > 0 && device_.vector_flops_per_s > 0) {
    t = std::max(t, w.vector_flops / (device_.vector_flops_per_s * efficiency_.vector));
  }
  if (w.host_bytes > 0 && device_.pcie_bytes_per_s > 0) {
    t = std::max(t, w.host_bytes / (device_.pcie_bytes_per_s * efficiency_.host));
  }
  const double launch = efficiency_.launch_s * call.cls->launches;
  return {Seconds(t + (call.cls == &kSampling ? efficiency_.sampling_s : launch)), Provenance::analytic};
}

ClassError analytic_error(const KernelClass& cls) {
  // Collectives and launch-bound row kernels differ most between devices and libraries.
  const bool loose =
      is_collective(cls) || is_exchange(cls) || &error_class(cls) == &kElementwise || &cls == &kSampling;
  const double sigma = loose ? 0.4 : 0.25;
  return {0.67 * sigma, 1.65 * sigma, sigma};
}

ClassError RooflineModel::error(const KernelClass& cls, Provenance) const {
  return analytic_error(cls);
}

std::vector<std::string> RooflineModel::sources() const {
  std::vector<std::string> lines{device_.name + ": datasheet peaks, no kernel measured"};
  if (efficiency_.launch_s > 0)
    lines.emplace_back("assumed: 75% of tensor peak, 85% of bandwidth, 2 us per launch, 30 us for sampling");
  return lines;
}

KernelCostModelPtr make_speed_of_light(const DeviceProfile& device, const Topology& topology) {
  return std::make_shared<RooflineModel>(device, topology, AnalyticEfficiency::ideal());
}

KernelCostModelPtr make_analytic(const DeviceProfile& device, const Topology& topology) {
  return std::make_shared<RooflineModel>(device, topology, AnalyticEfficiency{});
}

const Registration<CostModels> roofline{
    "roofline", "the datasheet's speed of light: max(FLOPs / peak, bytes / bandwidth)",
    [](const DeviceProfile& d, const Topology& t, const std::string&) { return make_speed_of_light(d, t); }};
const Registration<CostModels> analytic{
    "analytic", "the roofline at usual efficiencies plus a launch: for devices nobody measured",
    [](const DeviceProfile& d, const Topology& t, const std::string&) { return make_analytic(d, t); }};

}  // namespace orrery
