#include <cmath>

#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "calibration/least_squares.hpp"
#include "calibration/nodes.hpp"

namespace orrery::calibrate {

namespace {
/// launch + bytes / rate through (bytes, seconds) rows, in relative error.
template <class Row>
std::vector<double> fit_line(const std::vector<Row>& rows, std::vector<double> start) {
  const LogResiduals residuals = [&](const std::vector<double>& c, Eigen::VectorXd& out) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[static_cast<Eigen::Index>(i)] = std::log((c[0] + rows[i].bytes / c[1]) / rows[i].seconds);
    }
  };
  return fit_coefficients(residuals, start, static_cast<Eigen::Index>(rows.size()));
}

/// A node every factor of 2.83: collectives change algorithm with size, in steps no smooth form follows.
std::vector<double> byte_nodes() {
  std::vector<double> nodes;
  for (double b = 512; b < 2e9; b *= 2.8284271247461903) nodes.push_back(b);
  return nodes;
}
/// What a line leaves, over log2 of the bytes.
template <class Row>
Surface line_surface(const std::vector<Row>& rows, const std::vector<double>& line, const FitRange& bytes,
                     double stiffness) {
  std::vector<SurfacePoint> points;
  for (const auto& r : rows) {
    points.push_back({{std::log2(r.bytes)}, std::log(r.seconds / (line[0] + r.bytes / line[1])), 1.0});
  }
  return fit_surface({axis_in("bytes", byte_nodes(), bytes)}, points, {{stiffness}, 0.001});
}
}  // namespace

std::vector<CollectiveFit> fit_collectives(const std::vector<CollectiveRow>& rows) {
  std::map<std::pair<std::string, int>, std::vector<CollectiveRow>> groups;
  for (const auto& r : rows) {
    if (use_of(r) == Use::fit) groups[{r.kernel_class, static_cast<int>(r.ranks)}].push_back(r);
  }
  std::vector<CollectiveFit> fits;
  for (const auto& [key, part] : groups) {
    if (part.size() < 4) continue;
    CollectiveFit fit;
    fit.kernel_class = key.first, fit.ranks = key.second;
    const double slowest = part.back().seconds, largest = part.back().bytes;
    const auto c = fit_line(part, {part.front().seconds, largest / slowest});
    fit.launch_s = c[0], fit.bytes_per_s = c[1];
    fit.bytes = range_of(part, [](const CollectiveRow& r) { return r.bytes; });
    fit.surface = line_surface(part, c, fit.bytes, 0.05);
    fits.push_back(std::move(fit));
  }
  return fits;
}

std::vector<RowKernelFit> fit_row_kernels(const DeviceProfile& device,
                                          const std::vector<RowKernelRow>& rows) {
  std::map<std::string, std::vector<RowKernelRow>> groups;
  for (const auto& r : rows) {
    if (use_of(r) == Use::fit) groups[r.kernel_class].push_back(r);
  }
  std::vector<RowKernelFit> fits;
  for (const auto& [cls, part] : groups) {
    const auto c = fit_line(thinned(part, 4000), {2e-6, 0.7 * device.memory_bandwidth_bytes_per_s});
    const auto bytes = range_of(part, [](const RowKernelRow& r) { return r.bytes; });
    fits.push_back({cls, c[0], c[1], line_surface(part, c, bytes, 2.0), bytes, ""});
  }
  return fits;
}

}  // namespace orrery::calibrate
