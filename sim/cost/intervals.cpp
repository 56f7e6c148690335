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

/// Seconds per class.
std::map<std::string, double> class_seconds(const TimeShares& shares) {
  std::map<std::string, double> out;
  for (const auto& [key, seconds] : shares.by_class_provenance) out[key.first] += seconds;
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
    const KernelClass& cls = *Registry<KernelClasses>::find(key.first).make;
    if (seconds > 0) out[key.first] += seconds / time.at(key.first) * cost.error(cls, key.second).log_sigma;
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
    const KernelClass& cls = *Registry<KernelClasses>::find(key.first).make;
    const double part = seconds / total * cost.error(cls, key.second).log_sigma;
    // A class's variance (sum of its parts)^2 is divided in proportion to the parts.
    out[static_cast<std::size_t>(key.second)] += part * of_class.at(key.first) / variance;
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
