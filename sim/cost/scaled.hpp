#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cost/fitted.hpp"

namespace orrery {

/// The device with a fit that is nearest to `device`, of the same vendor: the smallest distance in
/// (log bf16 peak, log memory bandwidth, log SMs). Nothing where there is none.
std::optional<DeviceProfile> nearest_fitted(const DeviceProfile& device);

/// The fit of `from` carried over to `to` by the ratios of their datasheets: matrix rates by the peak of
/// their format, memory rates by bandwidth, links by link rate, SM counts replaced; launches, latencies and
/// surfaces as they are, a surface over thread blocks or streams shifted by the ratio of SMs. What `to`
/// cannot run (a format its matrix units lack, collectives over links it has not) is left out.
FitFile scaled_fit(const FitFile& fit, const DeviceProfile& from, const DeviceProfile& to);

/// How far scaled prices were off on tables of devices that have them (hwprofiles/transfer.json, written by
/// `orrery calibrate transfer`).
struct TransferError {
  std::string from, to;
  bool same_architecture = false;
  std::vector<HeldOut> regions;              ///< all rows of the target's tables
  std::map<std::string, ClassError> errors;  ///< by kernel class
};
/// None where the file is absent. Errors: ConfigError.
std::vector<TransferError> load_transfer_errors();
std::string to_json(const std::vector<TransferError>& all);
std::string transfer_file();  ///< its path

/// Prices a device nobody measured from the fit of another one, as `extrapolated`. Error bars are the widest
/// observed per class over transfers of the same kind (within an architecture or across), the analytic ones
/// for classes no transfer was judged on.
class ScaledModel final : public KernelCostModel {
 public:
  ScaledModel(const DeviceProfile& from, const DeviceProfile& to, const Topology& topology);
  KernelTime price(const KernelCall& call) const override;
  ClassError error(const KernelClass& cls, Provenance provenance) const override;
  std::vector<CalibratedRange> ranges(const KernelCall& like) const override { return fitted_->ranges(like); }
  std::vector<std::string> sources() const override;

 private:
  std::string from_, to_;
  std::map<std::string, ClassError> errors_;
  std::unique_ptr<const FittedModel> fitted_;
};

/// Scaled from the nearest fitted device, else the analytic roofline.
KernelCostModelPtr make_unmeasured(const DeviceProfile& device, const Topology& topology);

}  // namespace orrery
