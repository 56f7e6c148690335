#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/registry.hpp"
#include "base/units.hpp"
#include "hw/device_profile.hpp"
#include "ops/kernel_call.hpp"

namespace orrery {

/// Where a time came from; each priced call says so, and a run reports the share of time in each.
enum class Provenance : std::uint8_t {
  measured,      ///< this shape was run on this device by us
  interpolated,  ///< inside the range of shapes the fit or table was made from
  extrapolated,  ///< outside that range, or scaled from another device
  analytic,      ///< the roofline of a datasheet
};
inline constexpr int kProvenanceCount = 4;
constexpr std::string_view name(Provenance p) {
  constexpr std::string_view names[] = {"measured", "interpolated", "extrapolated", "analytic"};
  return names[static_cast<int>(p)];
}

struct KernelTime {
  Seconds time{0};
  Provenance provenance = Provenance::analytic;
};

/// How far predictions of one kernel class are off, from rows held out of the fit: the input of the error
/// bars. Residuals of a class are one common factor exp(N(bias, sigma)) within a run (architecture: error
/// bars).
struct ClassError {
  double median_abs = 0;  ///< median |predicted/measured - 1|
  double p90_abs = 0;
  double log_sigma = 0;  ///< of the normal whose central 90% holds 90% of log(predicted/measured) over shapes
};

/// The rows that stand behind the price of one kind of call, and how far they reach in each quantity.
struct CalibratedRange {
  struct Quantity {
    std::string name;  ///< a dimension of the class, or what the fit made of several ("KV streams")
    double low = 0, high = 0;
  };
  std::string rows;  ///< "measured", "fitted bf16", "fitted head size 128"
  std::vector<Quantity> quantities;
};

/// Prices one kernel call on one device. Immutable after construction; safe to share between threads.
class KernelCostModel {
 public:
  virtual ~KernelCostModel() = default;
  virtual KernelTime price(const KernelCall& call) const = 0;
  /// Expected error of a class at a provenance; wider for extrapolated and analytic.
  virtual ClassError error(const KernelClass& cls, Provenance provenance) const = 0;
  /// The measured or fitted rows that calls of this class, formats and model dimensions are priced from, the
  /// preferred ones first; empty when no row is behind them.
  virtual std::vector<CalibratedRange> ranges(const KernelCall& /*like*/) const { return {}; }
  /// Lines for `orrery gpus show`: data sources, dates, versions.
  virtual std::vector<std::string> sources() const = 0;
};
using KernelCostModelPtr = std::shared_ptr<const KernelCostModel>;

/// Registry kind: "roofline" (speed of light), "analytic", "fitted", "measured". `fit` is the path of a
/// fit.json or measured folder, "" = the device's own.
struct CostModels {
  static constexpr const char* kind = "cost model";
  using Factory = KernelCostModelPtr (*)(const DeviceProfile&, const Topology&, const std::string& fit);
};

/// The best the device's folder offers: measured, else fitted, each backed by the next for classes it lacks;
/// a device with a datasheet only gives the roofline.
KernelCostModelPtr best_cost_model(const DeviceProfile& device, const Topology& topology);

}  // namespace orrery
