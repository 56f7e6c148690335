#include <algorithm>
#include <array>
#include <cmath>

#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "calibration/kernel_calls.hpp"
#include "calibration/least_squares.hpp"
#include "calibration/nodes.hpp"

namespace orrery::calibrate {

namespace {
constexpr std::size_t kFormRows = 4000;
const std::vector<double> kNodesGroup{2, 4, 8, 16, 32};

/// What both attentions need from a shape: seconds of a form, the surface's coordinates, the KV heads for the
/// range.
template <class Form, class Shape>
struct Sample {
  Shape shape;
  double seconds = 0;
};

template <class Form, class Shape>
Form fit_form(Form form, const std::vector<Sample<Form, Shape>>& all,
              const std::array<double, Form::kCount>& start) {
  const auto rows = thinned(all, kFormRows);
  const LogResiduals residuals = [&](const std::vector<double>& c, Eigen::VectorXd& out) {
    Form f = form;
    std::copy(c.begin(), c.end(), f.c.begin());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[static_cast<Eigen::Index>(i)] = std::log(f.seconds(rows[i].shape) / rows[i].seconds);
    }
  };
  const auto c =
      fit_coefficients(residuals, {start.begin(), start.end()}, static_cast<Eigen::Index>(rows.size()));
  std::copy(c.begin(), c.end(), form.c.begin());
  return form;
}

struct Axes {
  const char *x, *y;
  std::vector<double> nodes_x, nodes_y;
  SurfacePrior prior;
};

/// One surface per head size in the rows.
template <class Form, class Shape>
std::vector<AttentionSurface> fit_surfaces(const Form& form, const std::vector<Sample<Form, Shape>>& rows,
                                           const Axes& axes) {
  std::map<double, std::vector<Sample<Form, Shape>>> by_head;
  for (const auto& r : rows) by_head[r.shape.head_dim].push_back(r);
  std::vector<AttentionSurface> out;
  for (const auto& [head_dim, part] : by_head) {
    AttentionSurface a;
    a.head_dim = head_dim;
    const auto coordinate = [](std::size_t i) {
      return [i](const auto& r) { return std::exp2(r.shape.log2_point()[i]); };
    };
    a.x = range_of(part, coordinate(0)), a.y = range_of(part, coordinate(1)),
    a.group = range_of(part, coordinate(2));
    a.kv_heads = range_of(part, [](const auto& r) { return r.shape.kv_heads; });
    std::vector<SurfacePoint> points;
    for (const auto& r : part) {
      const auto at = r.shape.log2_point();
      points.push_back({at, std::log(r.seconds / form.seconds(r.shape)), 1.0});
    }
    a.surface = fit_surface({axis_in(axes.x, axes.nodes_x, a.x), axis_in(axes.y, axes.nodes_y, a.y),
                             axis_in("group", kNodesGroup, a.group), SurfaceAxis{"kv_heads", {0.0, 1.0}}},
                            points, axes.prior);
    out.push_back(std::move(a));
  }
  return out;
}

/// Windows stay out of the fit: they judge how well sums alone describe them.
template <class Form, class Shape, class Make>
std::vector<Sample<Form, Shape>> fitting_rows(const std::vector<AttentionRow>& rows, bool decode, Make make) {
  std::vector<Sample<Form, Shape>> out;
  for (const auto& r : rows) {
    if (r.window == 0 && use_of(r, decode) == Use::fit) out.push_back({make(r), r.seconds});
  }
  return out;
}
}  // namespace

namespace {
std::map<DType, std::vector<AttentionRow>> by_kv_format(const std::vector<AttentionRow>& rows) {
  std::map<DType, std::vector<AttentionRow>> out;
  for (const auto& r : rows) out[r.kv_dtype].push_back(r);
  return out;
}

PrefillFit prefill_of(const DeviceProfile& device, DType kv_dtype, const std::vector<AttentionRow>& rows) {
  PrefillFit fit;
  fit.kv_dtype = kv_dtype;
  fit.own = rows.front().dims.has_value();
  fit.form.sm_count = device.sm_count;
  const double peak = device.tensor_peak(DType::bf16);
  const auto samples = fitting_rows<PrefillForm, PrefillShape>(rows, false, prefill_shape);
  fit.form = fit_form(
      fit.form, samples,
      {8e-6, 0.35 * peak, 0.5 * peak, 0.5 * peak, 64, 0.8 * device.memory_bandwidth_bytes_per_s, 1e-7, 1});
  fit.cached_tokens = std::any_of(samples.begin(), samples.end(),
                                  [](const auto& s) { return s.shape.kv_tokens > s.shape.new_tokens; });
  std::vector<double> lengths, blocks;
  for (double x = 16; x <= 32768; x *= 2) lengths.push_back(x);
  for (double x = 4; x <= 65536; x *= 2) blocks.push_back(x);
  fit.surfaces =
      fit_surfaces(fit.form, samples, {"keys", "blocks", lengths, blocks, {{0.2, 0.1, 0.3}, 0.02}});
  return fit;
}

DecodeFit decode_of(const DeviceProfile& device, DType kv_dtype, const std::vector<AttentionRow>& rows) {
  DecodeFit fit;
  fit.kv_dtype = kv_dtype;
  fit.own = rows.front().dims.has_value();
  fit.form.sm_count = device.sm_count;
  const auto samples = fitting_rows<DecodeForm, DecodeShape>(rows, true, decode_shape);
  fit.form = fit_form(fit.form, samples,
                      {8e-6, 0.8 * device.memory_bandwidth_bytes_per_s, 1e-6, 1e-6, 1e-6,
                       0.3 * device.tensor_peak(DType::bf16), 0.5 * device.memory_bandwidth_bytes_per_s});
  std::vector<double> streams, lengths;
  for (double x = 2; x <= 16384; x *= 2) streams.push_back(x);
  for (double x = 4; x <= 131072; x *= 2) lengths.push_back(x);
  fit.surfaces =
      fit_surfaces(fit.form, samples, {"streams", "length", streams, lengths, {{0.1, 0.1, 0.3}, 0.02}});
  if (kv_dtype != DType::bf16) return fit;
  // Attention with fp8 KV takes 0.92 of the bf16 time in the servers it was inferred from; no kernel table
  // holds it.
  fit.kv_fp8_time_factor = 0.92;
  fit.kv_fp8_source =
      "inferred from whole H100 servers running one 70B model with fp8 KV; not measured on kernels";
  return fit;
}
}  // namespace

std::vector<PrefillFit> fit_prefill(const DeviceProfile& device, const std::vector<AttentionRow>& rows) {
  std::vector<PrefillFit> fits;
  for (const auto& [kv_dtype, part] : by_kv_format(rows)) fits.push_back(prefill_of(device, kv_dtype, part));
  return fits;
}

std::vector<DecodeFit> fit_decode(const DeviceProfile& device, const std::vector<AttentionRow>& rows) {
  std::vector<DecodeFit> fits;
  for (const auto& [kv_dtype, part] : by_kv_format(rows)) fits.push_back(decode_of(device, kv_dtype, part));
  return fits;
}

}  // namespace orrery::calibrate
