#include <algorithm>
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
constexpr const char* kCustom = "all_reduce_custom";

/// Where vLLM's custom all-reduce goes from one stage (each rank reads all) to two (reduce-scatter,
/// all-gather): its csrc/custom_all_reduce.cuh takes one stage for 2 ranks, below 512 KiB for up to 4 and
/// below 256 KiB for up to 8.
double two_stage_from(const std::string& kernel_class, int ranks) {
  if (kernel_class != kCustom || ranks <= 2) return 0;
  return ranks <= 4 ? 512 * 1024.0 : 256 * 1024.0;
}

/// The rows below and from `change` (0 = never), each with the size it begins at.
std::vector<std::pair<double, std::vector<CollectiveRow>>> cut(const std::vector<CollectiveRow>& rows,
                                                               double change) {
  const auto at = change > 0 ? std::find_if(rows.begin(), rows.end(),
                                            [&](const CollectiveRow& r) { return r.bytes >= change; })
                             : rows.end();
  std::vector<std::pair<double, std::vector<CollectiveRow>>> pieces;
  if (at - rows.begin() >= 3) pieces.push_back({0.0, {rows.begin(), at}});
  if (rows.end() - at >= 3) pieces.push_back({pieces.empty() ? 0.0 : change, {at, rows.end()}});
  return pieces;
}
}  // namespace

std::vector<CollectiveFit> fit_collectives(const std::vector<CollectiveRow>& rows, int without_fold) {
  std::map<std::pair<std::string, int>, std::vector<CollectiveRow>> groups;
  for (const auto& r : rows) {
    if (fold_of(r) != without_fold) groups[{r.kernel_class, static_cast<int>(r.ranks)}].push_back(r);
  }
  std::vector<CollectiveFit> fits;
  for (const auto& [key, part] : groups) {
    if (part.size() < 4) continue;
    CollectiveFit fit;
    fit.kernel_class = key.first, fit.ranks = key.second;
    fit.bytes = range_of(part, [](const CollectiveRow& r) { return r.bytes; });
    const double change = two_stage_from(fit.kernel_class, fit.ranks);
    for (const auto& [from, rows_of_piece] : cut(part, change)) {
      const auto& first = rows_of_piece.front();
      const auto& last = rows_of_piece.back();
      const auto c = fit_line(rows_of_piece, {first.seconds, last.bytes / last.seconds});
      fit.pieces.push_back({from, c[0], 1 / c[1]});
    }
    if (fit.kernel_class != kCustom) {
      const auto& line = fit.pieces.front();
      fit.surface = line_surface(part, {line.launch_s, 1 / line.seconds_per_byte}, fit.bytes, 0.05);
    }
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
    fits.push_back({cls, c[0], c[1], line_surface(part, c, bytes, 2.0), bytes, "", part.front().own});
  }
  return fits;
}

}  // namespace orrery::calibrate
