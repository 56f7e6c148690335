#pragma once

#include <algorithm>

#include "report/log_histogram.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Values of a load weighted by time; time without steps counts as zero.
class LoadOverTime {
 public:
  void add(double value, double seconds) {
    histogram_.add(value, seconds);
    integral_ += value * seconds;
    peak_ = std::max(peak_, value);
  }
  TimeWeighted over(double seconds) const {
    if (seconds <= 0) return {};
    auto all = histogram_;
    all.add(0, std::max(0.0, seconds - all.total()));
    return {integral_ / seconds, Histogram::lower_edge(all.place(0.99 * all.total()).bin), peak_};
  }

 private:
  using Histogram = LogHistogram<double, -11, 10>;  // counts up to 1024 are exact
  Histogram histogram_;
  double integral_ = 0, peak_ = 0;
};

}  // namespace orrery
