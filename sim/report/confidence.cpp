#include "report/confidence.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

/// Two-sided normal quantile: |z| <= z(level) with probability `level`. Bisection of erf; called once a run.
double two_sided_z(double level) {
  double low = 0, high = 10;
  for (int i = 0; i < 60; ++i) {
    const double mid = (low + high) / 2;
    (std::erf(mid / std::sqrt(2.0)) < level ? low : high) = mid;
  }
  return low;
}

double total_time(const TimeShares& shares) {
  double total = shares.host;
  for (const auto& [cls, seconds] : shares.by_class) total += seconds;
  return total;
}

double step_log_sigma(const TimeShares& shares, const KernelCostModel& cost, double engine_log_sigma,
                      double total) {
  std::map<std::string, double> by_class;  // share times sigma, fully correlated within a class
  for (const auto& [key, seconds] : shares.by_class_provenance) {
    const KernelClass& cls = *Registry<KernelClasses>::find(key.first).make;
    by_class[key.first] += seconds / total * cost.error(cls, key.second).log_sigma;
  }
  double variance = engine_log_sigma * engine_log_sigma;
  for (const auto& [cls, sigma] : by_class) variance += sigma * sigma;
  return std::sqrt(variance);
}

double busy_share(const Summary& s) {
  double busy = 0, total = 0;
  for (const auto& g : s.gpu) {
    busy += g.decode_s + g.prefill_s;
    total += g.decode_s + g.prefill_s + g.idle_s;
  }
  return total > 0 ? busy / total : 0;
}

/// d log(metric) / d log(step time), for the metrics that are not made of steps alone.
struct Sensitivity {
  double ttft = 1, e2el = 1, throughput = 0;
};

Sensitivity sensitivity(const Summary& s) {
  Sensitivity out;
  const double rho = busy_share(s);
  const double amplified = std::min(10.0, 1 + rho / std::max(1e-9, 1 - rho));
  const double ttft = s[Metric::ttft].mean, e2el = s[Metric::e2el].mean;
  if (ttft > 0) out.ttft = (s.queue_ms * amplified + s.prefill_ms) / ttft;
  if (e2el > 0) out.e2el = (out.ttft * ttft + (e2el - ttft)) / e2el;
  // Served at the pace of the server, not of the arrivals: closed loops, all at once, or overload.
  const bool all_at_once = s.info.request_rate && std::isinf(*s.info.request_rate);
  if (s.info.max_concurrency || all_at_once || s.stability.unstable) out.throughput = 1;
  return out;
}

Interval around(double value, double log_half_width) {
  const double factor = std::exp(log_half_width);
  return {value / factor, value * factor};
}

}  // namespace

void add_shares(TimeShares& a, const TimeShares& b) {
  for (const auto& [cls, seconds] : b.by_class) a.by_class[cls] += seconds;
  for (std::size_t p = 0; p < kProvenanceCount; ++p) a.by_provenance[p] += b.by_provenance[p];
  for (const auto& [key, seconds] : b.by_class_provenance) a.by_class_provenance[key] += seconds;
  a.host += b.host;
}

void add_confidence(Summary& s, const TimeShares& shares, const KernelCostModel& cost,
                    double engine_log_sigma, double level) {
  ORRERY_CHECK(level > 0 && level < 1, "a confidence level is between 0 and 1");
  const double total = total_time(shares);
  if (total <= 0) return;
  Confidence c;
  c.level = level;
  c.sources = cost.sources();
  for (const auto& [cls, seconds] : shares.by_class) c.by_class[cls] = seconds / total;
  c.by_class["host"] = shares.host / total;
  double device = 0;
  for (const double seconds : shares.by_provenance) device += seconds;
  for (int p = 0; p < kProvenanceCount && device > 0; ++p) {
    c.by_provenance[std::string(name(static_cast<Provenance>(p)))] =
        shares.by_provenance[static_cast<std::size_t>(p)] / device;
  }

  const double half = two_sided_z(level) * step_log_sigma(shares, cost, engine_log_sigma, total);
  c.step_time_error = std::exp(half) - 1;
  const auto k = sensitivity(s);
  const double factors[kMetricCount] = {k.ttft, 1, 1, k.e2el};
  for (std::size_t m = 0; m < kMetricCount; ++m) {
    auto& stats = s.metrics[m];
    if (stats.samples == 0) continue;
    stats.mean_interval = around(stats.mean, half * factors[m]);
    const double p99 = stats.at(99);
    if (!std::isnan(p99)) stats.p99_interval = around(p99, half * factors[m]);
  }
  s.request_throughput_interval = around(s.request_throughput, half * k.throughput);
  s.output_throughput_interval = around(s.output_throughput, half * k.throughput);
  s.confidence = std::move(c);
}

}  // namespace orrery
