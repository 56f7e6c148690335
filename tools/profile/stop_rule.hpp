#pragma once

#include <vector>

namespace orrery::profile {

struct StopLimits {
  int min_samples = 5, max_samples = 200;
  double tolerance = 0.01;  ///< of the median
  double seconds = 0.4;     ///< wall clock spent on one case, cold or warm
};

/// When a median is known well enough: the interquartile range shrinks with the square root of the number of
/// samples like the median's own uncertainty (for a normal distribution 0.93 IQR / sqrt(n)), and outliers,
/// which timings have on one side only, do not move it.
class StopRule {
 public:
  explicit StopRule(StopLimits limits) : limits_(limits) {}
  void add(const std::vector<double>& samples, double wall_seconds);
  bool enough() const;
  /// How many samples to ask for next, so that a batch lasts about `batch_seconds`.
  int next_batch(double batch_seconds) const;

  double median() const;
  double spread() const;  ///< interquartile range / median; 0 for fewer than two samples
  int count() const { return static_cast<int>(sorted_.size()); }

 private:
  StopLimits limits_;
  std::vector<double> sorted_;
  double wall_ = 0;
};

}  // namespace orrery::profile
