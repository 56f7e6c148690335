#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cost/scaled.hpp"

namespace orrery {

namespace {
/// a / b, or 1 where either is unknown.
double ratio(double a, double b) {
  return a > 0 && b > 0 ? a / b : 1;
}

/// Peaks of a format, those of 16 bits where the matrix units lack it.
double peak_ratio(const DeviceProfile& from, const DeviceProfile& to, DType t) {
  const bool both = from.tensor_peak(t) > 0 && to.tensor_peak(t) > 0;
  const DType of = both ? t : DType::bf16;
  return ratio(to.tensor_peak(of), from.tensor_peak(of));
}

/// The axis counts what is spread over SMs: as many per SM lie `sms` times further out.
Surface shifted(const Surface& s, std::string_view axis_name, double sms) {
  if (s.empty()) return s;
  auto axes = s.axes();
  for (auto& axis : axes) {
    if (axis.name != axis_name) continue;
    for (double& node : axis.log2_nodes) node += std::log2(sms);
  }
  return {std::move(axes), s.values()};
}

void shift_attention(std::vector<AttentionSurface>& surfaces, std::string_view axis, bool is_x, double sms) {
  for (auto& s : surfaces) {
    s.surface = shifted(s.surface, axis, sms);
    FitRange& range = is_x ? s.x : s.y;
    range.low *= sms, range.high *= sms;
  }
}
}  // namespace

FitFile scaled_fit(const FitFile& fit, const DeviceProfile& from, const DeviceProfile& to) {
  FitFile out = fit;
  const double memory = ratio(to.memory_bandwidth_bytes_per_s, from.memory_bandwidth_bytes_per_s);
  const double sms = ratio(to.sm_count, from.sm_count), tensor = peak_ratio(from, to, DType::bf16);
  out.device = to.name, out.sm_count = to.sm_count;
  out.energy.reset();
  std::erase_if(out.gemm, [&](const GemmFit& g) { return to.tensor_peak(g.dtype) <= 0; });
  for (auto& g : out.gemm) {
    g.form.sm_count = to.sm_count;
    g.form.c[GemmForm::tensor] *= peak_ratio(from, to, g.dtype);
    g.form.c[GemmForm::memory] *= memory;
    g.form.c[GemmForm::quantise_rate] *= memory;
  }
  for (auto& p : out.prefill) {
    p.form.sm_count = to.sm_count;
    for (const auto rate : {PrefillForm::tensor_64, PrefillForm::tensor_128, PrefillForm::tensor_256})
      p.form.c[rate] *= tensor;
    p.form.c[PrefillForm::memory] *= memory;
    shift_attention(p.surfaces, "blocks", false, sms);
  }
  for (auto& d : out.decode) {
    d.form.sm_count = to.sm_count;
    d.form.c[DecodeForm::memory] *= memory;
    d.form.c[DecodeForm::query_output] *= memory;
    d.form.c[DecodeForm::tensor] *= tensor;
    shift_attention(d.surfaces, "streams", true, sms);
  }
  for (auto& r : out.row_kernels) r.bytes_per_s *= memory, r.scaled_from = from.name;
  if (to.nvlink_bytes_per_s <= 0 || from.nvlink_bytes_per_s <= 0) out.collectives.clear();
  for (auto& c : out.collectives) {
    for (auto& piece : c.pieces)
      piece.seconds_per_byte /= ratio(to.nvlink_bytes_per_s, from.nvlink_bytes_per_s);
    c.scaled_from = from.name;
  }
  for (auto& g : out.generic) {
    g.form.c[GenericForm::tensor] *= peak_ratio(from, to, g.dtype);
    g.form.c[GenericForm::vector] *= ratio(to.vector_flops_per_s, from.vector_flops_per_s);
    g.form.c[GenericForm::memory] *= memory;
    g.form.c[GenericForm::host] *= ratio(to.pcie_bytes_per_s, from.pcie_bytes_per_s);
    g.form.c[GenericForm::link] *= ratio(to.nvlink_bytes_per_s, from.nvlink_bytes_per_s);
  }
  return out;
}

std::optional<DeviceProfile> nearest_fitted(const DeviceProfile& device) {
  const auto distance = [&](const DeviceProfile& other) {
    return std::hypot(
        std::log(ratio(other.tensor_peak(DType::bf16), device.tensor_peak(DType::bf16))),
        std::log(ratio(other.memory_bandwidth_bytes_per_s, device.memory_bandwidth_bytes_per_s)),
        std::log(ratio(other.sm_count, device.sm_count)));
  };
  std::optional<DeviceProfile> best;
  for (auto& other : list_devices()) {
    if (other.vendor != device.vendor || other.name == device.name) continue;
    if (!std::filesystem::exists(other.folder + "/fit.json")) continue;
    if (!best || distance(other) < distance(*best)) best = std::move(other);
  }
  return best;
}

}  // namespace orrery
