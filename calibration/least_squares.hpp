#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include <Eigen/Core>

#include "cost/surface.hpp"

namespace orrery::calibrate {

/// log(predicted / measured) of every row for these coefficients.
using LogResiduals = std::function<void(const std::vector<double>& coefficients, Eigen::VectorXd& out)>;

/// Coefficients > 0 that minimise the sum of soft-L1 losses of the residuals (scale 0.08: rows further off
/// than 8% pull linearly, not quadratically), by Levenberg-Marquardt on their logarithms from `start`.
/// Deterministic.
std::vector<double> fit_coefficients(const LogResiduals& residuals, const std::vector<double>& start,
                                     Eigen::Index rows);

/// What a surface is fitted to: a value at a point of log2 coordinates, and its weight.
struct SurfacePoint {
  std::array<double, Surface::kMaxAxes> log2_point{};
  double value = 0, weight = 1;
};

/// How stiff a surface is along each axis (weight of its second differences, per node) and how strongly it is
/// drawn to 0.
struct SurfacePrior {
  std::array<double, Surface::kMaxAxes> stiffness{};
  double ridge = 0.02;
};

/// The surface on `axes` nearest to the points in the least-squares sense with a smoothness prior: sparse
/// normal equations (Eigen), re-weighted twice so that outliers beyond 10% pull linearly (Huber).
Surface fit_surface(std::vector<SurfaceAxis> axes, std::span<const SurfacePoint> points,
                    const SurfacePrior& prior);

}  // namespace orrery::calibrate
