#include "calibration/judge.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/quantile.hpp"
#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "calibration/kernel_calls.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"

namespace orrery::calibrate {

namespace {
struct Target {
  double median = 0, p90 = 0;
};

/// One region of a class: held-out errors are reported by region, and a class's error bar is that of its
/// `serving` ones.
struct Region {
  std::string name;
  Target target;
  bool serving = false;
};

/// What a device that we measured ourselves is to reach in every class.
constexpr Target kOwn{0.05, 0.15};

std::string format_of(DType arithmetic, DType stored) {
  const std::string text(name(arithmetic));
  return arithmetic == stored ? text : text + "/" + std::string(name(stored));
}

// Targets of published tables: what a prototype fit of the same tables reached with some ten coefficients per
// class.
std::vector<Region> regions(const GemmRow& r) {
  if (r.n < 1024 || r.k < 1024) return {{"n or k < 1024", {}, false}};
  if (r.own) {
    return {{r.m <= 16 ? "n, k >= 1024, m <= 16" : "n, k >= 1024, m > 16", kOwn, true}};
  }
  if (r.dtype != DType::fp8) {
    std::vector<Region> out{{"n, k >= 1024", {0.06, 0.16}, true}};
    out.push_back({r.m <= 16 ? "m <= 16" : r.m <= 256 ? "16 < m <= 256" : "m > 256", {}, false});
    return out;
  }
  if (r.m <= 16) return {{"n, k >= 1024, m <= 16", {0.06, 0.17}, true}};
  if (r.m <= 256) return {{"n, k >= 1024, 16 < m <= 256", {0.09, 0.25}, true}};
  return {{"n, k >= 1024, m > 256", {0.07, 0.17}, true}};
}

std::vector<Region> prefill_regions(const AttentionRow& r) {
  if (r.window > 0) return {{"window " + std::to_string(static_cast<int>(r.window)), {}, false}};
  if (r.dims && (*r.dims)[3] > (*r.dims)[1]) return {{"cached tokens before", kOwn, true}};
  if (r.length >= 1024) return {{"length >= 1024", r.dims ? kOwn : Target{0.08, 0.26}, true}};
  return {{r.length >= 128 ? "128 <= length < 1024" : "length < 128", {}, false}};
}

std::vector<Region> decode_regions(const AttentionRow& r, const DeviceProfile& device) {
  if (r.window > 0) return {{"window " + std::to_string(static_cast<int>(r.window)), {}, false}};
  const bool large = 4 * r.batch * r.length * r.kv_heads * r.head_dim >= 64e6;
  if (r.dims) return {{large ? "KV >= 64 MB" : "KV < 64 MB", kOwn, true}};
  const Target target = device.architecture == "ampere" ? Target{0.09, 0.25} : Target{0.05, 0.16};
  if (large) return {{"KV >= 64 MB", target, true}};
  return {{"KV < 64 MB", {}, true}};
}

std::vector<Region> regions(const CollectiveRow& r) {
  const bool reduce = r.kernel_class.rfind("all_reduce", 0) == 0;
  return {
      {std::to_string(static_cast<int>(r.ranks)) + " ranks", reduce ? Target{0.03, 0.10} : Target{}, true}};
}

std::vector<Region> regions(const GenericRow& r) {
  return {{"all", r.own ? kOwn : Target{}, true}};
}

std::vector<Region> regions(const LayerRow& r) {
  return {{r.region, {}, true}};
}

/// Collects log(predicted / measured) by (class, dtype, region, split), keeping the order of first
/// appearance.
class Residuals {
 public:
  void add(const std::string& cls, const std::string& dtype, const std::vector<Region>& in, Use use,
           double log_ratio) {
    if (use == Use::fit) return;
    for (const Region& region : in) {
      const std::string split = use == Use::held_row ? "rows" : "shapes";
      auto& cell = cells_[{cls, dtype, region.name, split}];
      cell.target = region.target;
      cell.residuals.push_back(log_ratio);
      if (region.serving) serving_[cls][dtype].push_back(log_ratio);
    }
  }

  std::vector<HeldOut> held_out() const {
    std::vector<HeldOut> out;
    for (const auto& [key, cell] : cells_) {
      const auto& [cls, dtype, region, split] = key;
      const auto e = error(cell.residuals);
      auto sorted = cell.residuals;
      std::sort(sorted.begin(), sorted.end());
      out.push_back({cls, dtype, region, split, static_cast<std::int64_t>(sorted.size()), e.median_abs,
                     e.p90_abs, quantile_sorted(sorted, 0.5), cell.target.median, cell.target.p90});
    }
    return out;
  }

  /// Per class, that of its worst format.
  std::map<std::string, ClassError> errors() const {
    std::map<std::string, ClassError> out;
    for (const auto& [cls, by_dtype] : serving_) {
      for (const auto& [dtype, residuals] : by_dtype) {
        const ClassError e = error(residuals);
        if (e.log_sigma > out[cls].log_sigma) out[cls] = e;
      }
    }
    return out;
  }

 private:
  struct Cell {
    Target target;
    std::vector<double> residuals;
  };

  /// log_sigma is the normal's whose central 90% holds 90% of the residuals: the tails are heavier than
  /// normal, and a plain standard deviation would follow a few outliers.
  static ClassError error(const std::vector<double>& log_ratios) {
    std::vector<double> relative, logs;
    for (const double r : log_ratios) {
      relative.push_back(std::abs(std::expm1(r)));
      logs.push_back(std::abs(r));
    }
    std::sort(relative.begin(), relative.end());
    std::sort(logs.begin(), logs.end());
    return {quantile_sorted(relative, 0.5), quantile_sorted(relative, 0.9),
            quantile_sorted(logs, 0.9) / 1.6449};
  }

  std::map<std::tuple<std::string, std::string, std::string, std::string>, Cell> cells_;
  std::map<std::string, std::map<std::string, std::vector<double>>> serving_;
};
/// Every row priced by a fit that has not seen its fold.
void judge_collectives(const DeviceProfile& device, const std::vector<CollectiveRow>& rows,
                       Residuals& residuals) {
  const Topology none;
  for (int fold = 0; fold < kFolds; ++fold) {
    FitFile without;
    without.collectives = fit_collectives(rows, fold);
    const FittedModel model(without, device, none, make_analytic(device, none));
    for (const auto& r : rows) {
      if (fold_of(r) != fold) continue;
      const double log_ratio = std::log(model.price(kernel_call(r)).time.value / r.seconds);
      residuals.add(r.kernel_class, "bf16", regions(r), Use::held_row, log_ratio);
    }
  }
}
}  // namespace

void judge(const DeviceProfile& device, const KernelRows& rows, FitFile& fit) {
  Topology none;  // no link of its own: collectives are priced as measured
  const FittedModel model(fit, device, none, make_analytic(device, none), Kernels::as_timed);
  Residuals residuals;
  const auto add = [&](const KernelCall& call, double seconds, Use use, const std::vector<Region>& in,
                       const std::string& dtype) {
    residuals.add(std::string(call.cls->name), dtype, in, use,
                  std::log(model.price(call).time.value / seconds));
  };
  for (const auto& r : rows.gemm)
    add(kernel_call(r), r.seconds, use_of(r), regions(r), format_of(r.dtype, r.weight_dtype()));
  for (const auto& r : rows.prefill)
    add(prefill_call(r), r.seconds, use_of(r, false), prefill_regions(r), format_of(DType::bf16, r.kv_dtype));
  for (const auto& r : rows.decode)
    add(decode_call(r), r.seconds, use_of(r, true), decode_regions(r, device),
        format_of(DType::bf16, r.kv_dtype));
  for (const auto& r : rows.row_kernels)
    add(kernel_call(r), r.seconds, use_of(r), {{"all", {}, true}}, "bf16");
  for (const auto& group : generic_groups(rows.generic)) {
    const auto uses = uses_of(group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto& r = group[i];
      add(kernel_call(r), r.seconds, uses[i], regions(r), format_of(r.dtype, r.weight_dtype));
    }
  }
  for (const auto& group : layer_groups(device, rows.layers)) {
    const auto uses = uses_of(group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto& r = group[i];
      const KernelCall& call = target_call(r);
      residuals.add(std::string(r.target->name), format_of(call.dtype, call.weight_dtype), regions(r),
                    uses[i], std::log(seconds_of(r, model) / r.seconds));
    }
  }
  judge_collectives(device, rows.collectives, residuals);
  fit.held_out = residuals.held_out();
  fit.errors = residuals.errors();
}

Judgement judge_all(const DeviceProfile& device, const KernelRows& rows, const KernelCostModel& model) {
  Residuals residuals;
  const auto add = [&](const KernelCall& call, double seconds, const std::vector<Region>& in, DType dtype) {
    residuals.add(std::string(call.cls->name), std::string(name(dtype)), in, Use::held_row,
                  std::log(model.price(call).time.value / seconds));
  };
  for (const auto& r : rows.gemm) add(kernel_call(r), r.seconds, regions(r), r.dtype);
  for (const auto& r : rows.prefill) add(prefill_call(r), r.seconds, prefill_regions(r), DType::bf16);
  for (const auto& r : rows.decode) add(decode_call(r), r.seconds, decode_regions(r, device), DType::bf16);
  for (const auto& r : rows.row_kernels) add(kernel_call(r), r.seconds, {{"all", {}, true}}, DType::bf16);
  for (const auto& r : rows.collectives) add(kernel_call(r), r.seconds, regions(r), DType::bf16);
  for (const auto& r : rows.generic) add(kernel_call(r), r.seconds, regions(r), r.dtype);
  for (const auto& group : layer_groups(device, rows.layers)) {
    for (const auto& r : group) {
      const KernelCall& call = target_call(r);
      residuals.add(std::string(r.target->name), format_of(call.dtype, call.weight_dtype), regions(r),
                    Use::held_row, std::log(seconds_of(r, model) / r.seconds));
    }
  }
  return {residuals.held_out(), residuals.errors()};
}

}  // namespace orrery::calibrate
