#pragma once

#include "cost/fit_file.hpp"
#include "cost/kernel_cost_model.hpp"

namespace orrery {

/// Prices from a fit.json: closed form times exp(surface), never below the datasheet's speed of light. Shapes
/// inside the fitted range are `interpolated`; formats, head sizes, rank counts or sizes the fit has not seen
/// are scaled from the nearest it has and `extrapolated`; classes it lacks go to `backing`.
class FittedModel final : public KernelCostModel {
 public:
  FittedModel(FitFile fit, DeviceProfile device, Topology topology, KernelCostModelPtr backing,
              Kernels kernels = Kernels::of_engines);
  KernelTime price(const KernelCall& call) const override;
  ClassError error(const KernelClass& cls, Provenance provenance) const override;
  std::vector<CalibratedRange> ranges(const KernelCall& like) const override;
  std::vector<std::string> sources() const override;

  const FitFile& fit() const { return fit_; }

 private:
  /// How a number format is priced: by the fit of `dtype`, its tensor rate scaled.
  struct GemmChoice {
    const GemmFit* fit = nullptr;
    GemmForm form;
    double element = 2;  ///< bytes of the fitted format
    bool exact = false;
  };
  GemmChoice choose_gemm(DType dtype, DType weight_dtype) const;
  KernelTime gemm(const KernelCall& call) const;
  KernelTime prefill(const KernelCall& call) const;
  KernelTime decode(const KernelCall& call) const;
  KernelTime collective(const KernelCall& call, const char* cls) const;
  KernelTime row_kernel(const KernelCall& call) const;
  KernelTime generic(const KernelCall& call, const GenericFit& fit) const;
  /// The generic fit of the call's class in its formats, else in those nearest in bytes per element; nullptr
  /// = none.
  const GenericFit* generic_for(const KernelCall& call) const;
  /// Engine kernel factor of a price that rests on our `own` rows, else 1.
  double engine_factor(const KernelCall& call, bool own) const { return own ? factors_.of(call.cls) : 1; }
  double speed_of_light(const KernelCall& call) const;

  FitFile fit_;
  DeviceProfile device_;
  Topology topology_;
  KernelCostModelPtr backing_;
  Kernels kernels_;
  EngineFactors factors_;
  std::array<std::array<GemmChoice, kDTypeCount>, kDTypeCount> gemm_{};  ///< by arithmetic, then weights
  bool links_as_fitted_ = true;  ///< the topology's links are those the collectives were measured on
};

/// The fit of `device`'s folder (or the file `fit`), backed by the analytic roofline.
/// Errors: ConfigError (no_device) when there is none.
KernelCostModelPtr make_fitted(const DeviceProfile& device, const Topology& topology, const std::string& fit,
                               Kernels kernels = Kernels::of_engines);

}  // namespace orrery
