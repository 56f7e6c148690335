#include "stop_rule.hpp"

#include <algorithm>
#include <cmath>

#include "base/quantile.hpp"

namespace orrery::profile {

void StopRule::add(const std::vector<double>& samples, double wall_seconds) {
  sorted_.insert(sorted_.end(), samples.begin(), samples.end());
  std::sort(sorted_.begin(), sorted_.end());
  wall_ += wall_seconds;
}

bool StopRule::enough() const {
  if (count() < limits_.min_samples) return false;
  return count() >= limits_.max_samples || wall_ >= limits_.seconds ||
         spread() / std::sqrt(static_cast<double>(count())) < limits_.tolerance;
}

int StopRule::next_batch(double batch_seconds) const {
  if (count() == 0) return limits_.min_samples;
  const double each = wall_ / count();
  const double fit = each > 0 ? batch_seconds / each : limits_.max_samples;
  const int left = std::max(limits_.max_samples - count(), 1);
  return std::clamp(static_cast<int>(std::min(fit, 1e6)), 1, left);
}

double StopRule::median() const {
  return quantile_sorted(sorted_, 0.5);
}

double StopRule::spread() const {
  const double middle = median();
  if (count() < 2 || !(middle > 0)) return 0;
  return (quantile_sorted(sorted_, 0.75) - quantile_sorted(sorted_, 0.25)) / middle;
}

}  // namespace orrery::profile
