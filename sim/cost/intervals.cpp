#include "cost/intervals.hpp"

#include <cmath>
#include <map>
#include <string>

#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

double total_seconds(const TimeShares& shares) {
  double total = shares.host;
  for (const auto& [key, seconds] : shares.by_class_provenance) total += seconds;
  return total;
}

const KernelClass& class_named(const std::string& name) {
  return *Registry<KernelClasses>::find(name).make;
}
/// The name under which classes that share one error are summed.
std::string error_name(const std::string& name) {
  return std::string(error_class(class_named(name)).name);
}

/// Seconds per class, those of classes with one error together.
std::map<std::string, double> class_seconds(const TimeShares& shares) {
  std::map<std::string, double> out;
  for (const auto& [key, seconds] : shares.by_class_provenance) out[error_name(key.first)] += seconds;
  return out;
}

/// Each class's contribution to a step's deviation: its own, times its share of the time.
std::map<std::string, double> class_parts(const TimeShares& shares, const KernelCostModel& cost) {
  auto out = sigma_by_class(shares, cost);
  const auto time = class_seconds(shares);
  for (auto& [name, sigma] : out) sigma *= time.at(name) / total_seconds(shares);
  return out;
}

}  // namespace

std::map<std::string, double> sigma_by_class(const TimeShares& shares, const KernelCostModel& cost) {
  const auto time = class_seconds(shares);
  std::map<std::string, double> out;
  for (const auto& [key, seconds] : shares.by_class_provenance) {
    const std::string group = error_name(key.first);
    const double sigma = cost.error(class_named(key.first), key.second).log_sigma;
    if (seconds > 0) out[group] += seconds / time.at(group) * sigma;
  }
  return out;
}

double relative_sigma(const TimeShares& shares, const KernelCostModel& cost, double engine_sigma) {
  double variance = engine_sigma * engine_sigma;
  for (const auto& [name, part] : class_parts(shares, cost)) variance += part * part;
  return std::sqrt(variance);
}

std::array<double, kProvenanceCount> variance_by_provenance(const TimeShares& shares,
                                                            const KernelCostModel& cost) {
  const double total = total_seconds(shares);
  const auto of_class = class_parts(shares, cost);
  double variance = 0;
  for (const auto& [name, sigma] : of_class) variance += sigma * sigma;
  std::array<double, kProvenanceCount> out{};
  if (variance <= 0) return out;
  for (const auto& [key, seconds] : shares.by_class_provenance) {
    if (seconds <= 0) continue;
    const double part = seconds / total * cost.error(class_named(key.first), key.second).log_sigma;
    // A class's variance (sum of its parts)^2 is divided in proportion to the parts.
    out[static_cast<std::size_t>(key.second)] += part * of_class.at(error_name(key.first)) / variance;
  }
  return out;
}

double two_sided_z(double level) {
  ORRERY_CHECK(level > 0 && level < 1, "an interval's level is a probability");
  double low = 0, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double mid = (low + high) / 2;
    (std::erf(mid / std::sqrt(2.0)) < level ? low : high) = mid;
  }
  return low;
}

}  // namespace orrery
