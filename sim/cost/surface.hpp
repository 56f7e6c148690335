#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery {

/// One axis of a surface: its quantity and the log2 of the values at which nodes stand, ascending.
struct SurfaceAxis {
  std::string name;
  std::vector<double> log2_nodes;
};

/// A continuous function on a tensor grid in log2 coordinates: multilinear between nodes (a sum of hat
/// functions), constant beyond the outer nodes. Holds the logarithm of measured over modelled time.
class Surface {
 public:
  static constexpr std::size_t kMaxAxes = 4;
  static constexpr std::size_t kMaxCorners = std::size_t{1} << kMaxAxes;

  /// The nodes around a point and their weights, which sum to 1: the row of a linear least-squares problem.
  struct Stencil {
    std::array<std::uint32_t, kMaxCorners> node{};
    std::array<double, kMaxCorners> weight{};
    std::size_t count = 0;
  };

  Surface() = default;  ///< zero everywhere
  /// `values` in row-major order, the last axis fastest. Errors: InternalError when sizes disagree.
  Surface(std::vector<SurfaceAxis> axes, std::vector<double> values);

  bool empty() const { return values_.empty(); }
  double at(std::span<const double> log2_point) const;
  Stencil stencil(std::span<const double> log2_point) const;

  const std::vector<SurfaceAxis>& axes() const { return axes_; }
  const std::vector<double>& values() const { return values_; }
  std::size_t stride(std::size_t axis) const { return strides_[axis]; }

 private:
  struct Cell {
    std::size_t low = 0;  ///< the node below, at most the last but one
    double fraction = 0;
  };
  Cell locate(std::size_t axis, double x) const;

  std::vector<SurfaceAxis> axes_;
  std::vector<double> values_;
  std::array<std::size_t, kMaxAxes> strides_{};
  /// Per axis, the interval in which each quarter of an octave begins: the search starts there.
  std::array<std::vector<std::uint8_t>, kMaxAxes> first_;
};

}  // namespace orrery
