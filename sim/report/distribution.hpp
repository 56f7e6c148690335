#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/quantile.hpp"
#include "report/log_histogram.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Mean and population deviation from running sums of distances to the first value, which keeps the
/// cancellation of E[x^2] - E[x]^2 small.
class Moments {
 public:
  void add(double value, double weight = 1) {
    if (weight_ == 0) origin_ = min_ = max_ = value;
    const double d = value - origin_;
    add_sums(weight, weight * d, weight * d * d, value, value);
  }
  double origin() const { return origin_; }
  void set_origin(double value) {
    if (weight_ == 0) origin_ = min_ = max_ = value;
  }
  /// Many values at once: their weight, the sums of distance and squared distance to origin(), and range.
  void add_sums(double weight, double sum, double squares, double min, double max) {
    weight_ += weight, sum_ += sum, squares_ += squares;
    if (min < min_) min_ = min;
    if (max > max_) max_ = max;
  }
  double mean() const;  ///< NaN when empty
  double std() const;
  double min() const;
  double max() const;

 private:
  double origin_ = 0, weight_ = 0, sum_ = 0, squares_ = 0, min_ = 0, max_ = 0;
};

/// A sample of positive values: kept whole up to `max_exact`, then as a log histogram.
class Distribution {
 public:
  explicit Distribution(std::size_t max_exact) : max_exact_(max_exact) {}

  void add(double value) {
    moments_.add(value);
    if (exact_ && samples_.size() < max_exact_) {
      samples_.push_back(value);
    } else {
      add_to_histogram(value);
    }
  }
  /// `percentiles` in percent, ascending. Reorders the sample.
  MetricStats stats(std::span<const double> percentiles, PercentileMethod method);

 private:
  using Histogram = LogHistogram<std::uint64_t, -20>;  // from about 1e-6

  void add_to_histogram(double value);
  double quantile(double p, PercentileMethod method, std::size_t& sorted_to);

  std::size_t max_exact_;
  bool exact_ = true;
  std::vector<double> samples_;
  Histogram histogram_;
  Moments moments_;
};

}  // namespace orrery
