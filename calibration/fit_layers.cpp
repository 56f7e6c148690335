#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/quantile.hpp"
#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/attention_mla.hpp"
#include "ops/moe.hpp"

namespace orrery::calibrate {

namespace {
/// The median of the quickest quarter: what launching takes where the kernels are too short to matter.
double launch_of(const std::vector<LayerRow>& rows) {
  std::vector<double> times;
  times.reserve(rows.size());
  for (const auto& r : rows) times.push_back(r.seconds);
  std::sort(times.begin(), times.end());
  return quantile_sorted(times, 0.125);
}

/// A kernel's launch within a captured graph, of the nearest attention that was timed in one; 0 = none was.
double launch_in_graph(const FitFile& fit, const KernelClass& target) {
  if (&target == &kAttentionMlaDecode && !fit.decode.empty()) {
    return of_kv(fit.decode, DType::bf16).form.c[DecodeForm::launch];
  }
  if (&target == &kAttentionMlaPrefill && !fit.prefill.empty()) {
    return of_kv(fit.prefill, DType::bf16).form.c[PrefillForm::launch];
  }
  return 0;
}

/// Kernels that widen 4-bit weights (Marlin; Frantar et al., 2024) multiply by instructions of the generation
/// before Hopper's own. No table of kernels holds them here: one factor, by which servers' times to the first
/// token agree.
void set_weight_only(const DeviceProfile& device, GenericFit& fit) {
  if (fit.cls() != &kGroupedGemm || device.architecture != "hopper") return;
  fit.weight_only_tensor_factor = 2.9;
  fit.weight_only_source =
      "inferred from 15 runs of gpt-oss-120b in MXFP4 on two H100s (vLLM); not measured on kernels";
}

/// Whether two rows differ by an octave at most in each dimension.
bool near(const LayerRow& a, const LayerRow& b) {
  for (std::size_t d = 0; d < a.shape.size(); ++d) {
    if (std::abs(log2_dim(a.shape[d]) - log2_dim(b.shape[d])) > 1.01) return false;
  }
  return true;
}

/// The rows but those in which the host that launches was held up: against the roofline they took over 30%
/// longer than three quarters of the rows near them do.
std::vector<LayerRow> without_hiccups(const std::vector<LayerRow>& rows, const KernelCostModel& analytic) {
  constexpr double kLonger = 0.26;  // in the logarithm
  constexpr std::size_t kFewest = 3;
  std::vector<double> residual;
  residual.reserve(rows.size());
  for (const auto& r : rows) residual.push_back(std::log(r.seconds / seconds_of(r, analytic)));
  std::vector<LayerRow> out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<double> around;
    for (std::size_t j = 0; j < rows.size(); ++j) {
      if (j != i && near(rows[i], rows[j])) around.push_back(residual[j]);
    }
    std::sort(around.begin(), around.end());
    const bool hiccup = around.size() >= kFewest && residual[i] - quantile_sorted(around, 0.75) > kLonger;
    if (!hiccup) out.push_back(rows[i]);
  }
  return out;
}

/// The target's calls with their share of what the others' prices leave; none where that is less than a
/// quarter of the row, and so mostly their error.
void apportion(const LayerRow& row, const KernelCostModel& others, const KernelCostModel& analytic,
               std::vector<GenericRow>& out) {
  constexpr double kLeast = 0.25;
  double left = row.seconds, light = 0;
  for (const auto& call : row.calls) {
    if (call.cls == row.target) {
      light += analytic.price(call).time.value;
    } else {
      left -= others.price(call).time.value;
    }
  }
  if (left < kLeast * row.seconds) return;
  for (const auto& call : row.calls) {
    if (call.cls != row.target) continue;
    const double share = analytic.price(call).time.value / light;
    out.push_back({call.cls, call.dims, call.dtype, call.weight_dtype, left * share});
  }
}
}  // namespace

std::vector<std::vector<LayerRow>> layer_groups(const DeviceProfile& device,
                                                const std::vector<LayerRow>& rows) {
  std::map<std::tuple<std::string_view, DType, DType>, std::vector<LayerRow>> groups;
  for (const auto& r : rows) {
    const KernelCall& call = target_call(r);
    groups[{r.target->name, call.dtype, call.weight_dtype}].push_back(r);
  }
  const auto light = make_speed_of_light(device, Topology{});
  std::vector<std::vector<LayerRow>> out;
  for (auto& [key, part] : groups) {
    const double launch = launch_of(part);
    std::erase_if(part, [&](const LayerRow& r) { return r.host_launched && seconds_of(r, *light) < launch; });
    if (!part.empty()) out.push_back(std::move(part));
  }
  return out;
}

void fit_layers(const DeviceProfile& device, const std::vector<LayerRow>& rows, FitFile& fit) {
  if (rows.empty()) return;
  constexpr std::size_t kFewest = 16;
  const Topology none;
  const auto analytic = make_analytic(device, none);
  const FittedModel others(fit, device, none, analytic, Kernels::as_timed);
  for (const auto& part : layer_groups(device, rows)) {
    const auto uses = uses_of(part);
    std::vector<LayerRow> kept;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (uses[i] == Use::fit) kept.push_back(part[i]);
    }
    const bool host = part.front().host_launched;
    if (host) kept = without_hiccups(kept, *analytic);
    std::vector<GenericRow> fitted;
    for (const auto& row : kept) apportion(row, others, *analytic, fitted);
    if (fitted.size() < kFewest) continue;
    const double launch_s = host ? launch_in_graph(fit, *part.front().target) : 0;
    GenericFit g = fit_generic_rows(device, fitted, launch_s);
    if (host) {
      const auto shortest = [](const GenericRow& a, const GenericRow& b) { return a.seconds < b.seconds; };
      g.shortest_s = std::min_element(fitted.begin(), fitted.end(), shortest)->seconds;
    }
    set_weight_only(device, g);
    fit.generic.push_back(std::move(g));
  }
}

}  // namespace orrery::calibrate
