#include "calibration/least_squares.hpp"

#include <cmath>

#include <Eigen/SparseCholesky>
#include <Eigen/SparseCore>
#include <unsupported/Eigen/NonLinearOptimization>
#include <unsupported/Eigen/NumericalDiff>

#include "base/error.hpp"

namespace orrery::calibrate {

namespace {
constexpr double kSoftL1 = 0.08, kHuber = 0.10;

struct LogProblem {
  using Scalar = double;
  using InputType = Eigen::VectorXd;
  using ValueType = Eigen::VectorXd;
  using JacobianType = Eigen::MatrixXd;
  enum { InputsAtCompileTime = Eigen::Dynamic, ValuesAtCompileTime = Eigen::Dynamic };

  const LogResiduals* residuals;
  const std::vector<double>*
      start;  ///< unknowns are 1 + log(coefficient / start), so that relative steps make sense
  Eigen::Index count_inputs, count_values;
  Eigen::Index inputs() const { return count_inputs; }
  Eigen::Index values() const { return count_values; }

  /// Levenberg-Marquardt minimises squares, so each residual becomes the root of its loss.
  int operator()(const Eigen::VectorXd& x, Eigen::VectorXd& out) const {
    std::vector<double> c(static_cast<std::size_t>(x.size()));
    for (std::size_t i = 0; i < c.size(); ++i)
      c[i] = (*start)[i] * std::exp(x[static_cast<Eigen::Index>(i)] - 1);
    (*residuals)(c, out);
    for (double& r : out) {
      const double z = std::isfinite(r) ? r / kSoftL1 : 50.0;
      const double root = std::sqrt(2 * (std::sqrt(1 + z * z) - 1));
      r = z < 0 ? -root : root;
    }
    return 0;
  }
};

using Triplets = std::vector<Eigen::Triplet<double>>;

void add_square(Triplets& a, std::span<const Eigen::Index> node, std::span<const double> weight, double w) {
  for (std::size_t i = 0; i < node.size(); ++i) {
    for (std::size_t j = 0; j < node.size(); ++j) a.emplace_back(node[i], node[j], w * weight[i] * weight[j]);
  }
}

/// Departure of every node from the line between its neighbours, along every axis.
Triplets smoothness(const Surface& shape, const SurfacePrior& prior) {
  Triplets a;
  const auto size = static_cast<Eigen::Index>(shape.values().size());
  for (std::size_t axis = 0; axis < shape.axes().size(); ++axis) {
    const auto& x = shape.axes()[axis].log2_nodes;
    const auto stride = static_cast<Eigen::Index>(shape.stride(axis));
    const auto n = static_cast<Eigen::Index>(x.size());
    for (Eigen::Index i = 0; i < size; ++i) {
      const auto at = (i / stride) % n;
      if (at == 0 || at + 1 == n) continue;
      const auto p = static_cast<std::size_t>(at);
      const double u = (x[p] - x[p - 1]) / (x[p + 1] - x[p - 1]);
      const std::array<Eigen::Index, 3> node{i - stride, i, i + stride};
      const std::array<double, 3> weight{-(1 - u), 1.0, -u};
      add_square(a, node, weight, prior.stiffness[axis]);
    }
  }
  for (Eigen::Index i = 0; i < size; ++i) a.emplace_back(i, i, prior.ridge);
  return a;
}
}  // namespace

std::vector<double> fit_coefficients(const LogResiduals& residuals, const std::vector<double>& start,
                                     Eigen::Index rows) {
  ORRERY_CHECK(rows > static_cast<Eigen::Index>(start.size()), "more rows than coefficients are needed");
  const LogProblem problem{&residuals, &start, static_cast<Eigen::Index>(start.size()), rows};
  // Steps of a thousandth: the forms have ceilings, whose derivative a smaller step would miss.
  Eigen::NumericalDiff<LogProblem> differentiated(problem, 1e-6);
  Eigen::LevenbergMarquardt<Eigen::NumericalDiff<LogProblem>> solver(differentiated);
  solver.parameters.maxfev = 60 * static_cast<int>(start.size() + 1);
  solver.parameters.xtol = solver.parameters.ftol = 1e-5;
  Eigen::VectorXd x = Eigen::VectorXd::Ones(problem.count_inputs);
  solver.minimize(x);
  std::vector<double> fitted = start;
  for (std::size_t i = 0; i < fitted.size(); ++i) fitted[i] *= std::exp(x[static_cast<Eigen::Index>(i)] - 1);
  return fitted;
}

Surface fit_surface(std::vector<SurfaceAxis> axes, std::span<const SurfacePoint> points,
                    const SurfacePrior& prior) {
  std::size_t size = 1;
  for (const auto& a : axes) size *= a.log2_nodes.size();
  Surface surface(axes, std::vector<double>(size, 0.0));
  const Triplets prior_terms = smoothness(surface, prior);
  for (int round = 0; round < 3; ++round) {
    Triplets a = prior_terms;
    Eigen::VectorXd b = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(size));
    for (const auto& p : points) {
      const auto s = surface.stencil({p.log2_point.data(), axes.size()});
      std::array<Eigen::Index, Surface::kMaxCorners> node{};
      for (std::size_t i = 0; i < s.count; ++i) node[i] = static_cast<Eigen::Index>(s.node[i]);
      const double residual = std::abs(p.value - surface.at({p.log2_point.data(), axes.size()}));
      const double w = round == 0 || residual <= kHuber ? p.weight : p.weight * kHuber / residual;
      add_square(a, {node.data(), s.count}, {s.weight.data(), s.count}, w);
      for (std::size_t i = 0; i < s.count; ++i) b[node[i]] += w * s.weight[i] * p.value;
    }
    Eigen::SparseMatrix<double> normal(b.size(), b.size());
    normal.setFromTriplets(a.begin(), a.end());
    const Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>> solver(normal);
    ORRERY_CHECK(solver.info() == Eigen::Success, "the normal equations of a surface have no solution");
    const Eigen::VectorXd v = solver.solve(b);
    surface = Surface(axes, std::vector<double>(v.begin(), v.end()));
  }
  return surface;
}

}  // namespace orrery::calibrate
