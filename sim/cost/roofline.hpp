#pragma once

#include "cost/alpha_beta.hpp"
#include "cost/kernel_cost_model.hpp"

namespace orrery {

/// Shares of a datasheet's peaks that well-written kernels reach, and what a launch costs, where nothing was
/// measured: round figures, ours, in this one place. Against the fits of A100 and Hopper they are within a
/// factor of two.
struct AnalyticEfficiency {
  double tensor = 0.75;
  double vector = 0.5;
  double memory = 0.85;
  double host = 0.8;
  double launch_s = 2e-6;
  double sampling_s = 30e-6;  ///< sampling: a dozen small kernels that no graph captures
  AlphaBeta collectives;

  /// No loss anywhere: the speed of light.
  static AnalyticEfficiency ideal();
};

/// max(FLOPs / peak, bytes / bandwidth) of a call's Work (Williams et al., Roofline, 2009), with the
/// efficiencies given; collectives by latency and bandwidth. Knows every kernel class.
class RooflineModel final : public KernelCostModel {
 public:
  RooflineModel(DeviceProfile device, Topology topology, AnalyticEfficiency efficiency);
  KernelTime price(const KernelCall& call) const override;
  ClassError error(const KernelClass& cls, Provenance provenance) const override;
  std::vector<std::string> sources() const override;

 private:
  double tensor_peak(DType t) const;
  DeviceProfile device_;
  Topology topology_;
  AnalyticEfficiency efficiency_;
};

/// What a datasheet alone promises about an error: a log-normal factor, ours until a device of that kind is
/// measured.
ClassError analytic_error(const KernelClass& cls);

KernelCostModelPtr make_speed_of_light(const DeviceProfile& device, const Topology& topology);
KernelCostModelPtr make_analytic(const DeviceProfile& device, const Topology& topology);

}  // namespace orrery
