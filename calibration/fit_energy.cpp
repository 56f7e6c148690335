#include "calibration/fit_energy.hpp"

#include <algorithm>
#include <cmath>

#include <Eigen/Dense>
#include <fmt/format.h>

#include "base/quantile.hpp"

namespace orrery::calibrate {

namespace {
constexpr std::size_t kFewestRows = 30;
constexpr Eigen::Index kIdle = 0, kDram = 1, kVector = 2, kTensor = 3, kTerms = kTensor + kDTypeCount;

/// min |A x - b| over x >= 0 (Lawson and Hanson). Columns of A have norm 1, or are 0.
Eigen::VectorXd non_negative_least_squares(const Eigen::MatrixXd& a, const Eigen::VectorXd& b) {
  constexpr double kTolerance = 1e-10;
  const Eigen::Index n = a.cols();
  Eigen::VectorXd x = Eigen::VectorXd::Zero(n);
  std::vector<Eigen::Index> passive;
  const auto solve = [&] {
    Eigen::MatrixXd part(a.rows(), static_cast<Eigen::Index>(passive.size()));
    for (std::size_t i = 0; i < passive.size(); ++i)
      part.col(static_cast<Eigen::Index>(i)) = a.col(passive[i]);
    return Eigen::VectorXd(part.colPivHouseholderQr().solve(b));
  };
  for (Eigen::Index round = 0; round < 3 * n; ++round) {
    const Eigen::VectorXd gradient = a.transpose() * (b - a * x);
    Eigen::Index best = -1;
    for (Eigen::Index j = 0; j < n; ++j) {
      const bool in = std::find(passive.begin(), passive.end(), j) != passive.end();
      if (!in && gradient[j] > kTolerance && (best < 0 || gradient[j] > gradient[best])) best = j;
    }
    if (best < 0) break;
    passive.push_back(best);
    for (Eigen::VectorXd s = solve();; s = solve()) {
      double step = 1;
      for (std::size_t i = 0; i < passive.size(); ++i) {
        const auto at = static_cast<Eigen::Index>(i);
        const double now = x[passive[i]];
        if (s[at] <= 0) step = std::min(step, now / (now - s[at]));
      }
      for (std::size_t i = 0; i < passive.size(); ++i) {
        double& value = x[passive[i]];
        value += step * (s[static_cast<Eigen::Index>(i)] - value);
      }
      if (step >= 1) break;
      std::erase_if(passive, [&](Eigen::Index j) {
        if (x[j] > kTolerance) return false;
        x[j] = 0;
        return true;
      });
    }
  }
  return x;
}

struct Sample {
  std::array<double, kTerms> amount{};
  double joules = 0;
};

Sample sample(const KernelClass& cls, const MeasuredRow& r) {
  const Work work = make_call(cls, r.dims, r.dtype, r.weight_dtype).work;
  Sample s;
  s.amount[kIdle] = r.seconds;
  s.amount[kDram] = r.dram_bytes > 0 ? r.dram_bytes : work.hbm_bytes();
  s.amount[kVector] = work.vector_flops;
  s.amount[kTensor + static_cast<std::size_t>(work.tensor_dtype)] = work.tensor_flops;
  s.joules = r.power_w * r.seconds;
  return s;
}
}  // namespace

std::optional<EnergyFit> fit_energy(const std::vector<MeasuredTable>& tables) {
  std::vector<Sample> samples;
  std::vector<std::string> files;
  for (const auto& t : tables) {
    const std::size_t before = samples.size();
    for (const auto& r : t.rows) {
      if (r.power_w > 0) samples.push_back(sample(*t.cls, r));
    }
    if (samples.size() > before) files.push_back(t.file);
  }
  if (samples.size() < kFewestRows) return std::nullopt;
  // Each row divided by its joules, so that relative errors count; each column by its norm.
  const auto rows = static_cast<Eigen::Index>(samples.size());
  Eigen::MatrixXd a(rows, kTerms);
  for (Eigen::Index i = 0; i < rows; ++i) {
    const Sample& s = samples[static_cast<std::size_t>(i)];
    for (Eigen::Index j = 0; j < kTerms; ++j) a(i, j) = s.amount[static_cast<std::size_t>(j)] / s.joules;
  }
  Eigen::VectorXd norm = a.colwise().norm();
  for (Eigen::Index j = 0; j < kTerms; ++j) {
    if (norm[j] > 0) a.col(j) /= norm[j];
  }
  const Eigen::VectorXd x = non_negative_least_squares(a, Eigen::VectorXd::Ones(rows));
  std::vector<double> off;
  const Eigen::VectorXd predicted = a * x;
  for (const double p : predicted) off.push_back(std::abs(p - 1));
  std::sort(off.begin(), off.end());
  const auto coefficient = [&](Eigen::Index j) { return norm[j] > 0 ? x[j] / norm[j] : 0.0; };
  EnergyFit fit;
  fit.idle_w = coefficient(kIdle);
  fit.dram_j_per_byte = coefficient(kDram);
  fit.vector_j_per_flop = coefficient(kVector);
  for (std::size_t t = 0; t < fit.tensor_j_per_flop.size(); ++t) {
    fit.tensor_j_per_flop[t] = coefficient(kTensor + static_cast<Eigen::Index>(t));
  }
  fit.rows = rows;
  fit.median_abs = quantile_sorted(off, 0.5), fit.p90_abs = quantile_sorted(off, 0.9);
  fit.source = fmt::format("{}", fmt::join(files, ", "));
  return fit;
}

}  // namespace orrery::calibrate
