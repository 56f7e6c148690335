#include "report/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orrery {

namespace {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
}

double Moments::mean() const {
  return weight_ == 0 ? kNaN : origin_ + sum_ / weight_;
}
double Moments::std() const {
  if (weight_ == 0) return kNaN;
  const double m = sum_ / weight_;
  return std::sqrt(std::max(0.0, squares_ / weight_ - m * m));
}
double Moments::min() const {
  return weight_ == 0 ? kNaN : min_;
}
double Moments::max() const {
  return weight_ == 0 ? kNaN : max_;
}

void Distribution::add_to_histogram(double value) {
  if (exact_) {
    for (const double s : samples_) histogram_.add(s, 1);
    samples_ = {};
    exact_ = false;
  }
  histogram_.add(value, 1);
}

double Distribution::quantile(double p, PercentileMethod method, std::size_t& sorted_to) {
  const auto n = static_cast<std::int64_t>(exact_ ? samples_.size() : histogram_.total());
  if (n == 0) return kNaN;
  const auto rank = quantile_rank(n, p, method);
  if (!exact_) {
    const auto at = [&](std::int64_t r) {
      return Histogram::middle(histogram_.place(static_cast<std::uint64_t>(r)).bin);
    };
    const double low = at(rank.below);
    return low + rank.weight * (at(rank.above) - low);
  }
  // Ranks ascend from call to call: what lies before `sorted_to` is already below everything behind it.
  const auto select = [&](std::int64_t r) {
    const auto k = static_cast<std::size_t>(r);
    if (k >= sorted_to) {
      std::nth_element(samples_.begin() + static_cast<std::ptrdiff_t>(sorted_to), samples_.begin() + r,
                       samples_.end());
      sorted_to = k + 1;
    }
    return samples_[k];
  };
  const double low = select(rank.below);
  const double high = rank.above == rank.below ? low : select(rank.above);
  return low + rank.weight * (high - low);
}

MetricStats Distribution::stats(std::span<const double> percentiles, PercentileMethod method) {
  MetricStats out;
  out.samples = static_cast<std::int64_t>(exact_ ? samples_.size() : histogram_.total());
  out.exact = exact_;
  out.mean = moments_.mean(), out.std = moments_.std();
  out.min = moments_.min(), out.max = moments_.max();
  // The median is selected in its place among the others, so that each selection narrows the next.
  std::vector<double> wanted(percentiles.begin(), percentiles.end());
  const bool median_listed = std::find(wanted.begin(), wanted.end(), 50.0) != wanted.end();
  if (!median_listed) wanted.insert(std::upper_bound(wanted.begin(), wanted.end(), 50.0), 50.0);
  std::size_t sorted_to = 0;
  for (const double percent : wanted) {
    const double value = quantile(percent / 100, method, sorted_to);
    if (percent == 50.0) out.median = value;
    if (percent != 50.0 || median_listed) out.percentiles.emplace_back(percent, value);
  }
  return out;
}

}  // namespace orrery
