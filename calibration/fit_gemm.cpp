#include <array>
#include <cmath>

#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "calibration/least_squares.hpp"
#include "calibration/nodes.hpp"

namespace orrery::calibrate {

namespace {
// Fine where serving lives: every small m is a decode batch; tile edges repeat every 64 to 256 columns.
const std::vector<double> kNodesM{2,   4,   8,   16,   32,   48,   64,   96,   128,
                                  192, 256, 512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kNodesN{64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384};
const std::vector<double> kNodesK{64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
constexpr std::size_t kFormRows = 4000;

/// Shapes with narrow sides matter less than those of models.
double weight(const GemmRow& r) {
  return r.n >= 512 && r.k >= 512 ? 1.0 : 0.4;
}

/// Published times of fp8 kernels hold the quantisation of x; ours do not.
bool quantises(const GemmRow& r) {
  return r.dtype == DType::fp8 && !r.own;
}

std::vector<double> start(const DeviceProfile& device, const GemmRow& like) {
  const DType dtype = like.dtype;
  const double peak =
      device.tensor_peak(dtype) > 0 ? device.tensor_peak(dtype) : device.tensor_peak(DType::bf16);
  std::vector<double> c{3e-6, 0.8 * peak, 1.0, 0.9, 0.7, 0.5, 1e-7, 0.9 * device.memory_bandwidth_bytes_per_s,
                        1e-6, 1e-6};
  if (quantises(like)) c.push_back(8e-9), c.push_back(1.5e12);
  return c;
}

GemmForm with(GemmForm form, const std::vector<double>& c) {
  std::copy(c.begin(), c.end(), form.c.begin());
  return form;
}

/// The rate and the tiles' efficiencies are known up to a factor: the best tile's efficiency is called 1.
GemmForm normalised(GemmForm form) {
  double best = 0;
  for (std::size_t i = GemmForm::efficiency_128x256; i <= GemmForm::efficiency_64x64; ++i)
    best = std::max(best, form.c[i]);
  for (std::size_t i = GemmForm::efficiency_128x256; i <= GemmForm::efficiency_64x64; ++i) form.c[i] /= best;
  form.c[GemmForm::tensor] *= best;
  return form;
}

double log_ratio(const GemmForm& form, const GemmBytes& bytes, const GemmRow& r) {
  return std::log(form.seconds(r.m, r.n, r.k, bytes) / r.seconds);
}

GemmFit fit_one(const DeviceProfile& device, const std::vector<GemmRow>& rows) {
  GemmFit fit;
  fit.dtype = rows.front().dtype, fit.weight_dtype = rows.front().weight_dtype();
  fit.own = rows.front().own;
  fit.form.sm_count = device.sm_count;
  const GemmBytes bytes{bytes_per_element(fit.dtype), bytes_per_element(fit.weight_dtype), 2};
  const auto sample = thinned(rows, kFormRows);
  const LogResiduals residuals = [&](const std::vector<double>& c, Eigen::VectorXd& out) {
    const GemmForm form = with(fit.form, c);
    for (std::size_t i = 0; i < sample.size(); ++i) {
      out[static_cast<Eigen::Index>(i)] = log_ratio(form, bytes, sample[i]) * weight(sample[i]);
    }
  };
  const auto c =
      fit_coefficients(residuals, start(device, rows.front()), static_cast<Eigen::Index>(sample.size()));
  fit.form = normalised(with(fit.form, c));
  fit.m = range_of(rows, [](const GemmRow& r) { return r.m; });
  fit.n = range_of(rows, [](const GemmRow& r) { return r.n; });
  fit.k = range_of(rows, [](const GemmRow& r) { return r.k; });
  std::vector<SurfacePoint> points;
  for (const auto& r : rows) {
    points.push_back(
        {{std::log2(r.m), std::log2(r.n), std::log2(r.k)}, -log_ratio(fit.form, bytes, r), weight(r)});
  }
  fit.surface =
      fit_surface({axis_in("m", kNodesM, fit.m), axis_in("n", kNodesN, fit.n), axis_in("k", kNodesK, fit.k)},
                  points, {{0.3, 0.3, 0.3}, 0.02});
  return fit;
}
}  // namespace

std::vector<GemmFit> fit_gemms(const DeviceProfile& device, const std::vector<GemmRow>& rows) {
  std::map<std::pair<DType, DType>, std::vector<GemmRow>> by_format;
  for (const auto& r : rows) {
    if (use_of(r) == Use::fit) by_format[{r.dtype, r.weight_dtype()}].push_back(r);
  }
  std::vector<GemmFit> fits;
  for (const auto& [formats, part] : by_format) fits.push_back(fit_one(device, part));
  return fits;
}

}  // namespace orrery::calibrate
