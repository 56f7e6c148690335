#include "calibration/engine_factor.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/quantile.hpp"
#include "calibration/kernel_calls.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::calibrate {

namespace {
constexpr std::size_t kFewestShapes = 20;

/// Whether the price of a call in these formats rests on our own rows.
bool ours(const FitFile& f, const KernelCall& call) {
  const auto own = [](const auto& fits, auto same) {
    return std::any_of(fits.begin(), fits.end(), [&](const auto& x) { return x.own && same(x); });
  };
  const auto kv = [&](const auto& x) { return x.kv_dtype == call.weight_dtype; };
  if (call.cls == &kGemm) {
    return own(f.gemm, [&](const GemmFit& g) {
      return g.dtype == call.dtype && g.weight_dtype == call.weight_dtype;
    });
  }
  if (call.cls == &kAttentionPrefill) return own(f.prefill, kv);
  if (call.cls == &kAttentionDecode) return own(f.decode, kv);
  return own(f.row_kernels, [&](const RowKernelFit& r) { return r.kernel_class == call.cls->name; });
}

/// The published tables that hold rows of the class.
std::string source_of(const KernelRows& published, const std::string& cls) {
  std::vector<std::string> files;
  for (const auto& s : published.sources) {
    if (std::find(s.classes.begin(), s.classes.end(), cls) != s.classes.end()) {
      files.push_back(s.file + ": " + s.source);
    }
  }
  return fmt::format("{}", fmt::join(files, "; "));
}
}  // namespace

EngineKernelFactors engine_factors(const DeviceProfile& device, const FitFile& fit,
                                   const KernelRows& published) {
  FitFile plain = fit;
  plain.engine_kernel_factor.clear();
  const FittedModel model(plain, device, {}, make_analytic(device, {}));
  std::map<std::string, std::vector<double>> ratios;
  const auto add = [&](const KernelCall& call, double seconds) {
    if (!ours(fit, call)) return;
    const KernelTime t = model.price(call);
    // The row-wise form is called extrapolated everywhere, for standing for kernels it was not fitted on.
    if (t.provenance == Provenance::interpolated || call.cls == &kElementwise)
      ratios[std::string(call.cls->name)].push_back(seconds / t.time.value);
  };
  for (const auto& r : published.gemm) add(kernel_call(r), r.seconds);
  for (const auto& r : published.prefill) {
    if (r.window == 0) add(prefill_call(r), r.seconds);
  }
  for (const auto& r : published.decode) {
    if (r.window == 0) add(decode_call(r), r.seconds);
  }
  for (const auto& r : published.row_kernels) add(kernel_call(r), r.seconds);
  EngineKernelFactors out;
  for (auto& [cls, all] : ratios) {
    if (all.size() < kFewestShapes) continue;
    std::sort(all.begin(), all.end());
    out[cls] = {quantile_sorted(all, 0.5), source_of(published, cls), static_cast<std::int64_t>(all.size()),
                quantile_sorted(all, 0.1), quantile_sorted(all, 0.9)};
  }
  return out;
}

}  // namespace orrery::calibrate
