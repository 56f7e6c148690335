#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/quantile.hpp"
#include "base/registry.hpp"
#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "calibration/least_squares.hpp"
#include "calibration/nodes.hpp"

namespace orrery::calibrate {

namespace {
constexpr std::size_t kNodes = 4096;    ///< of a surface, at most
constexpr std::size_t kAxisNodes = 16;  ///< of one of its axes
constexpr double kWorthAnAxis = 0.02;   ///< share of the variance left that a further axis explains, at least
constexpr double kSmallVariance = 1e-4;  ///< (1%)^2: what is left is noise

Work work_of(const GenericRow& r) {
  return make_call(*r.cls, r.dims, r.dtype, r.weight_dtype).work;
}

/// Rates at usual efficiencies (roofline.hpp) and the time of the quickest row as launch.
std::vector<double> start(const DeviceProfile& d, const std::vector<GenericRow>& rows) {
  const DType dtype = rows.front().dtype;
  const double tensor = d.tensor_peak(dtype) > 0 ? d.tensor_peak(dtype) : d.tensor_peak(DType::bf16);
  const auto quickest = std::min_element(rows.begin(), rows.end(),
                                         [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  return {0.8 * quickest->seconds,    0.6 * tensor,
          0.4 * d.vector_flops_per_s, 0.7 * d.memory_bandwidth_bytes_per_s,
          0.7 * d.pcie_bytes_per_s,   0.7 * std::max(d.nvlink_bytes_per_s, d.pcie_bytes_per_s)};
}

/// Coefficients of the kinds of work that the rows do; the others stay 0. `launch_s` > 0: the launch is
/// known.
GenericForm fit_form(const DeviceProfile& device, const std::vector<GenericRow>& rows, double launch_s) {
  std::vector<std::size_t> used;
  if (launch_s <= 0) used.push_back(GenericForm::launch);
  const auto first = start(device, rows);
  for (std::size_t i = GenericForm::tensor; i < GenericForm::kCount; ++i) {
    const bool done = std::any_of(rows.begin(), rows.end(), [&](const GenericRow& r) {
      return GenericForm::amounts(work_of(r))[i] > 0;
    });
    if (done && first[i] > 0) used.push_back(i);
  }
  GenericForm form;
  form.c[GenericForm::launch] = launch_s;
  std::vector<double> from;
  from.reserve(used.size());
  for (const std::size_t i : used) from.push_back(form.c[i] = first[i]);
  if (rows.size() <= used.size()) return form;
  std::vector<Work> work;
  work.reserve(rows.size());
  for (const auto& r : rows) work.push_back(work_of(r));
  const LogResiduals residuals = [&](const std::vector<double>& c, Eigen::VectorXd& out) {
    GenericForm f = form;
    for (std::size_t i = 0; i < used.size(); ++i) f.c[used[i]] = c[i];
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[static_cast<Eigen::Index>(i)] = std::log(f.seconds(work[i]) / rows[i].seconds);
    }
  };
  const auto c = fit_coefficients(residuals, from, static_cast<Eigen::Index>(rows.size()));
  // A rate that ran off says that this work never was what took the time.
  constexpr double kRanOff = 1e3;
  for (std::size_t i = 0; i < used.size(); ++i) form.c[used[i]] = c[i] < kRanOff * from[i] ? c[i] : 0;
  return form;
}

double variance(const std::vector<double>& x) {
  double sum = 0, squares = 0;
  for (const double v : x) sum += v, squares += v * v;
  const auto n = static_cast<double>(x.size());
  return squares / n - (sum / n) * (sum / n);
}

/// The residuals drawn in to 4 robust deviations (of the median absolute deviation) about their median:
/// single spikes of a timing would outweigh what dimensions explain.
std::vector<double> without_spikes(std::vector<double> x) {
  constexpr double kDeviations = 4 * 1.4826;
  const auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return quantile_sorted(v, 0.5);
  };
  const double middle = median(x);
  std::vector<double> off;
  off.reserve(x.size());
  for (const double v : x) off.push_back(std::abs(v - middle));
  const double most = kDeviations * median(off);
  for (double& v : x) v = std::clamp(v, middle - most, middle + most);
  return x;
}

/// A dimension's value to an eighth of an octave: sums over a batch (its context) differ a little between
/// batches of the same size, and would tell them apart.
double rounded_log2(double x) {
  return std::round(8 * log2_dim(x)) / 8;
}

/// The residuals less the mean of all rows with about the same value of dimension `d`.
std::vector<double> without(const std::vector<double>& residual, const std::vector<GenericRow>& rows,
                            std::size_t d) {
  std::map<double, std::pair<double, double>> sums;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto& [sum, count] = sums[rounded_log2(rows[i].dims[d])];
    sum += residual[i], count += 1;
  }
  std::vector<double> out = residual;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& [sum, count] = sums[rounded_log2(rows[i].dims[d])];
    out[i] -= sum / count;
  }
  return out;
}

std::set<double> values_of(const std::vector<GenericRow>& rows, std::size_t d) {
  std::set<double> values;
  for (const auto& r : rows) values.insert(r.dims[d]);
  return values;
}

std::size_t levels_of(const std::vector<GenericRow>& rows, std::size_t d) {
  std::set<double> levels;
  for (const auto& r : rows) levels.insert(rounded_log2(r.dims[d]));
  return levels.size();
}

/// Up to four dimensions with three values or more, each time the one whose values explain most of the
/// variance left. A dimension that takes as many values as there are rows would explain everything: its gain
/// is discounted by the degrees of freedom it uses.
std::vector<std::size_t> choose_axes(const std::vector<GenericRow>& rows, std::vector<double> residual) {
  std::vector<std::size_t> chosen;
  const auto n = static_cast<double>(rows.size());
  while (chosen.size() < Surface::kMaxAxes) {
    const double left = variance(residual);
    if (left < kSmallVariance) break;
    std::size_t best = rows.front().dims.size();
    double best_gain = kWorthAnAxis;
    for (std::size_t d = 0; d < rows.front().dims.size(); ++d) {
      const auto values = static_cast<double>(levels_of(rows, d));
      if (values < 3 || std::find(chosen.begin(), chosen.end(), d) != chosen.end()) continue;
      const double unexplained = variance(without(residual, rows, d)) / left;
      const double gain = 1 - unexplained * (n - 1) / std::max(n - values, 1.0);
      if (gain > best_gain) best = d, best_gain = gain;
    }
    if (best == rows.front().dims.size()) break;
    chosen.push_back(best);
    residual = without(residual, rows, best);
  }
  return chosen;
}

/// Nodes at the values themselves, evenly thinned to `most`; the ends stay.
SurfaceAxis axis_at(std::string_view name, const std::set<double>& values, std::size_t most) {
  std::vector<double> at;
  for (const double v : values) {
    if (at.empty() || log2_dim(v) > at.back() + 0.05) at.push_back(log2_dim(v));
  }
  SurfaceAxis axis{std::string(name), {}};
  const std::size_t count = std::min(most, at.size());
  for (std::size_t i = 0; i < count; ++i) {
    axis.log2_nodes.push_back(at[count == 1 ? 0 : i * (at.size() - 1) / (count - 1)]);
  }
  return axis;
}

Surface fit_residuals(const GenericForm& form, const std::vector<GenericRow>& rows) {
  std::vector<double> residual;
  residual.reserve(rows.size());
  for (const auto& r : rows) residual.push_back(std::log(r.seconds / form.seconds(work_of(r))));
  const auto chosen = choose_axes(rows, without_spikes(residual));
  if (chosen.empty()) return {};
  auto most = static_cast<std::size_t>(
      std::pow(static_cast<double>(kNodes), 1.0 / static_cast<double>(chosen.size())));
  most = std::min(most, kAxisNodes);
  std::vector<SurfaceAxis> axes;
  axes.reserve(chosen.size());
  for (const std::size_t d : chosen) {
    axes.push_back(axis_at(rows.front().cls->dims[d], values_of(rows, d), most));
  }
  std::vector<SurfacePoint> points;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SurfacePoint p{{}, residual[i], 1.0};
    for (std::size_t a = 0; a < chosen.size(); ++a) p.log2_point[a] = log2_dim(rows[i].dims[chosen[a]]);
    points.push_back(p);
  }
  return fit_surface(std::move(axes), points, {{0.1, 0.1, 0.1, 0.1}, 0.02});
}

}  // namespace

GenericFit fit_generic_rows(const DeviceProfile& device, const std::vector<GenericRow>& rows,
                            double launch_s) {
  GenericFit fit;
  fit.kernel_class = rows.front().cls->name;
  fit.dtype = rows.front().dtype, fit.weight_dtype = rows.front().weight_dtype;
  fit.own = rows.front().own;
  fit.form = fit_form(device, rows, launch_s);
  fit.surface = fit_residuals(fit.form, rows);
  for (std::size_t d = 0; d < rows.front().dims.size() && !rows.front().cls->dims[d].empty(); ++d) {
    fit.ranges.push_back(range_of(rows, [d](const GenericRow& r) { return r.dims[d]; }));
  }
  fit.bind(*rows.front().cls);
  return fit;
}

std::vector<std::vector<GenericRow>> generic_groups(const std::vector<GenericRow>& rows) {
  std::map<std::tuple<std::string_view, DType, DType>, std::vector<GenericRow>> groups;
  for (const auto& r : rows) groups[{r.cls->name, r.dtype, r.weight_dtype}].push_back(r);
  std::vector<std::vector<GenericRow>> out;
  out.reserve(groups.size());
  for (auto& [key, part] : groups) out.push_back(std::move(part));
  return out;
}

std::vector<GenericFit> fit_generic(const DeviceProfile& device, const std::vector<GenericRow>& rows) {
  std::vector<GenericFit> fits;
  for (const auto& part : generic_groups(rows)) {
    const auto uses = uses_of(part);
    std::vector<GenericRow> fitted;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (uses[i] == Use::fit) fitted.push_back(part[i]);
    }
    fits.push_back(fit_generic_rows(device, fitted));
  }
  return fits;
}

}  // namespace orrery::calibrate
