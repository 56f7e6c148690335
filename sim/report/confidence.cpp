#include "report/confidence.hpp"

#include <algorithm>
#include <cmath>

#include "cost/intervals.hpp"

namespace orrery {

namespace {

constexpr double kMostAmplified = 10;

double total_time(const TimeShares& shares) {
  double total = shares.host;
  for (const auto& [cls, seconds] : shares.by_class) total += seconds;
  return total;
}

/// How busy the busiest of the things is that a request can wait for: the GPU's time for prompts, the slots
/// of the batch, the KV blocks. A GPU that decodes for a few users is busy all the time and keeps no one
/// waiting.
double occupancy(const Summary& s) {
  double prefill = 0, total = 0;
  for (const auto& g : s.gpu) prefill += g.prefill_s, total += g.decode_s + g.prefill_s + g.idle_s;
  const double slots =
      s.info.max_num_seqs > 0 ? s.running.mean / static_cast<double>(s.info.max_num_seqs) : 0;
  return std::max({total > 0 ? prefill / total : 0, slots, s.kv_used.mean});
}

/// d log(metric) / d log(step time), for the metrics that are not made of steps alone.
struct Sensitivity {
  double ttft = 1, e2el = 1, throughput = 0;
};

Sensitivity sensitivity(const Summary& s) {
  Sensitivity out;
  // Served at the pace of the server, not of the arrivals: closed loops and all at once. Waits are then
  // proportional to step times; in an open loop they grow without bound towards saturation.
  const bool all_at_once = s.info.request_rate && std::isinf(*s.info.request_rate);
  const bool open_loop = !s.info.max_concurrency && !all_at_once;
  // What arrives in an open loop is served, but the time after the last arrival is the server's.
  if (s.duration_s > 0) out.throughput = s.drain_s / s.duration_s;
  if (!open_loop || s.stability.unstable) out.throughput = 1;
  const double rho = s.stability.unstable ? 1 : occupancy(s);
  const double amplified = open_loop ? std::min(kMostAmplified, 1 / std::max(1e-9, 1 - rho)) : 1;
  const double ttft = s[Metric::ttft].mean, e2el = s[Metric::e2el].mean;
  if (ttft > 0) out.ttft = (s.queue_ms * amplified + s.prefill_ms) / ttft;
  if (e2el > 0) out.e2el = (out.ttft * ttft + (e2el - ttft)) / e2el;
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

  const double half = two_sided_z(level) * relative_sigma(shares, cost, engine_log_sigma);
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
