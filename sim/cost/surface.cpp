#include "cost/surface.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery {

namespace {
constexpr double kBuckets = 4;  // per octave
}

Surface::Cell Surface::locate(std::size_t axis, double x) const {
  const auto& nodes = axes_[axis].log2_nodes;
  if (!(x > nodes.front())) return {0, 0.0};
  if (x >= nodes.back()) return nodes.size() == 1 ? Cell{0, 0.0} : Cell{nodes.size() - 2, 1.0};
  std::size_t i = first_[axis][static_cast<std::size_t>((x - nodes.front()) * kBuckets)];
  while (nodes[i + 1] <= x) ++i;
  return {i, (x - nodes[i]) / (nodes[i + 1] - nodes[i])};
}

Surface::Surface(std::vector<SurfaceAxis> axes, std::vector<double> values)
    : axes_(std::move(axes)), values_(std::move(values)) {
  ORRERY_CHECK(!axes_.empty() && axes_.size() <= kMaxAxes, "a surface has 1 to 4 axes");
  std::size_t size = 1;
  for (std::size_t a = axes_.size(); a-- > 0;) {
    ORRERY_CHECK(!axes_[a].log2_nodes.empty() &&
                     std::is_sorted(axes_[a].log2_nodes.begin(), axes_[a].log2_nodes.end()),
                 "the nodes of an axis ascend");
    const auto& nodes = axes_[a].log2_nodes;
    ORRERY_CHECK(nodes.size() < 256, "an axis has fewer than 256 nodes");
    std::size_t interval = 0;
    for (double x = nodes.front(); x <= nodes.back(); x += 1 / kBuckets) {
      while (interval + 2 < nodes.size() && nodes[interval + 1] <= x) ++interval;
      first_[a].push_back(static_cast<std::uint8_t>(interval));
    }
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
    const Cell cell = locate(a, log2_point[a]);
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
  // The values at the corners of the point's cell, folded one axis at a time from the last.
  std::array<double, kMaxCorners> v;
  std::array<std::size_t, kMaxCorners> node;
  std::array<double, kMaxAxes> fraction;  // of the axes on which the point lies between nodes
  std::size_t count = 1, between = 0;
  node[0] = 0;
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    const Cell cell = locate(a, log2_point[a]);
    if (cell.fraction == 0.0 || cell.fraction == 1.0) {
      const std::size_t at = (cell.low + (cell.fraction == 1.0 ? 1 : 0)) * strides_[a];
      for (std::size_t i = 0; i < count; ++i) node[i] += at;
      continue;
    }
    for (std::size_t i = count; i-- > 0;) {
      const std::size_t low = node[i] + cell.low * strides_[a];
      node[2 * i] = low;
      node[2 * i + 1] = low + strides_[a];
    }
    fraction[between++] = cell.fraction;
    count *= 2;
  }
  for (std::size_t i = 0; i < count; ++i) v[i] = values_[node[i]];
  for (std::size_t a = between; a-- > 0;) {
    count /= 2;
    for (std::size_t i = 0; i < count; ++i) v[i] = v[2 * i] + fraction[a] * (v[2 * i + 1] - v[2 * i]);
  }
  return v[0];
}

}  // namespace orrery
