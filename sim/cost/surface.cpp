#include "cost/surface.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery {

namespace {
struct Cell {
  std::size_t low = 0;
  double fraction = 0;
};

/// The interval of `nodes` that holds x, clamped to the ends.
Cell locate(const std::vector<double>& nodes, double x) {
  if (nodes.size() == 1 || !(x > nodes.front())) return {0, 0.0};
  if (x >= nodes.back()) return {nodes.size() - 2, 1.0};
  std::size_t i = 0;
  while (nodes[i + 1] <= x) ++i;  // a dozen nodes: a scan beats a search
  return {i, (x - nodes[i]) / (nodes[i + 1] - nodes[i])};
}
}  // namespace

Surface::Surface(std::vector<SurfaceAxis> axes, std::vector<double> values)
    : axes_(std::move(axes)), values_(std::move(values)) {
  ORRERY_CHECK(!axes_.empty() && axes_.size() <= kMaxAxes, "a surface has 1 to 4 axes");
  std::size_t size = 1;
  for (std::size_t a = axes_.size(); a-- > 0;) {
    ORRERY_CHECK(!axes_[a].log2_nodes.empty() &&
                     std::is_sorted(axes_[a].log2_nodes.begin(), axes_[a].log2_nodes.end()),
                 "the nodes of an axis ascend");
    strides_[a] = size;
    size *= axes_[a].log2_nodes.size();
  }
  ORRERY_CHECK(size == values_.size(), "a surface holds one value per node");
}

Surface::Stencil Surface::stencil(std::span<const double> log2_point) const {
  Stencil s;
  s.count = 1;
  s.weight[0] = 1.0;
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    const Cell cell = locate(axes_[a].log2_nodes, log2_point[a]);
    const auto base = static_cast<std::uint32_t>(cell.low * strides_[a]);
    const auto step = static_cast<std::uint32_t>(strides_[a]);
    if (cell.fraction == 0.0) {
      for (std::size_t i = 0; i < s.count; ++i) s.node[i] += base;
      continue;
    }
    for (std::size_t i = 0; i < s.count; ++i) {
      s.node[s.count + i] = s.node[i] + base + step;
      s.weight[s.count + i] = s.weight[i] * cell.fraction;
      s.node[i] += base;
      s.weight[i] *= 1.0 - cell.fraction;
    }
    s.count *= 2;
  }
  return s;
}

double Surface::at(std::span<const double> log2_point) const {
  if (values_.empty()) return 0.0;
  const Stencil s = stencil(log2_point);
  double sum = 0;
  for (std::size_t i = 0; i < s.count; ++i) sum += s.weight[i] * values_[s.node[i]];
  return sum;
}

}  // namespace orrery
