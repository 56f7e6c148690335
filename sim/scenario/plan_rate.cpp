#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "scenario/plan.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

namespace {

constexpr double kWithin = 1.03;
constexpr double kShare = 0.9;  ///< of requests, where the promises are thresholds only

/// Requests enough for a 99th percentile and for a queue that grows to show; no more than the user asked for.
std::int64_t requests_at(const Scenario& scenario, double rate) {
  constexpr double kSeconds = 120;
  const auto wanted = static_cast<std::int64_t>(std::clamp(rate * kSeconds, 2000.0, 20000.0));
  return scenario.workload.num_prompts > 0 ? scenario.workload.num_prompts : wanted;
}

/// The same requests, rate by rate: a trace's are moved together, a generator's have the same lengths.
Summary run_at(const Deployment& deployment, const Scenario& scenario, double rate) {
  Scenario asked = scenario;
  if (asked.workload.trace.empty()) {
    asked.workload.request_rate = rate, asked.workload.target_rps = 0;
  } else {
    asked.workload.target_rps = rate;
  }
  asked.workload.num_prompts = requests_at(scenario, rate);
  RunOptions options;
  options.percentiles = {50, 90, 95, 99};
  for (const double p : parse_slo(scenario.slo).percentiles()) options.percentiles.push_back(p);
  std::sort(options.percentiles.begin(), options.percentiles.end());
  options.percentiles.erase(std::unique(options.percentiles.begin(), options.percentiles.end()),
                            options.percentiles.end());
  return run_deployed(deployment, asked, options).summary;
}

bool keeps(const Summary& s) {
  if (s.completed == 0 || s.failed > 0 || (s.stability.judged && s.stability.unstable)) return false;
  if (!s.slo.empty()) return s.slo_met();
  return s.attainment.value_or(1) >= kShare;
}

/// Which promise is broken first, and by what.
std::string first_limit(const Summary& s) {
  if (!s.failures.empty()) {
    const auto most = std::max_element(s.failures.begin(), s.failures.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return fmt::format("{} of {} requests fail: {}", s.failed, s.failed + s.completed, most->first);
  }
  std::string broken = "throughput";
  Metric metric = Metric::ttft;
  for (const SloResult& r : s.slo) {
    if (r.pass) continue;
    broken = label(r.term.metric), metric = r.term.metric;
    break;
  }
  const bool memory = s.preemptions > 0 || s.kv_used.peak > 0.98;
  if (memory && s.waiting.mean > 1) return broken + " (KV memory)";
  if (s.info.max_num_seqs > 0 && s.running.peak >= static_cast<double>(s.info.max_num_seqs))
    return broken + " (max_num_seqs)";
  if (metric == Metric::ttft) return broken + (s.queue_ms > s.prefill_ms ? " (prefill queue)" : " (prefill)");
  return broken + (s.waiting.mean > 1 ? " (steps, and a queue)" : " (step time)");
}

}  // namespace

void find_rate(Plan& plan) {
  const Deployment deployment = deploy(plan.candidate.scenario);
  const PlanCandidate& c = plan.candidate;
  const double expected = plan.estimate.rate;
  const auto measure = [&](double rate) { return run_at(deployment, c.scenario, rate); };
  double low = 0, high = 0;
  Summary broken;
  for (double rate = 0.7 * expected; low == 0 || high == 0;) {
    Summary s = measure(rate);
    if (keeps(s)) {
      low = rate, plan.at = std::move(s);
      rate *= high > 0 ? 1 : 1.4;
      if (high == 0 && rate > 100 * expected) high = rate;  // promises that no load breaks
    } else {
      high = rate, broken = std::move(s);
      rate *= low > 0 ? 1 : 0.5;
      if (low == 0 && rate < expected / 300) break;
    }
  }
  if (low == 0) {
    plan.at = std::move(broken);
    plan.limit = first_limit(*plan.at);
    return;
  }
  while (high / low > kWithin) {
    const double rate = std::sqrt(low * high);
    Summary s = measure(rate);
    if (keeps(s)) {
      low = rate, plan.at = std::move(s);
    } else {
      high = rate, broken = std::move(s);
    }
  }
  plan.unit_rps = low;
  plan.units = 1;
  plan.meets = true;
  plan.limit = first_limit(broken);
}

void find_units(Plan& plan, const PlanQuestion& question) {
  if (question.target_rps <= 0 || plan.unit_rps <= 0) return;
  const PlanCandidate& c = plan.candidate;
  const int most = question.max_gpus > 0 ? question.max_gpus / c.all_gpus() : std::numeric_limits<int>::max();
  plan.meets = false;
  const int first = std::max(1, static_cast<int>(std::ceil(question.target_rps / plan.unit_rps - 1e-9)));
  for (int units = first; units <= std::min(most, first + 2); ++units) {
    Scenario s = c.scenario;
    s.replicas = units;
    if (c.prefill > 0) {
      s.replicas = 1;
      s.pools.prefill_replicas = units * c.prefill, s.pools.decode_replicas = units * c.decode;
    }
    plan.units = units;
    plan.at = run_at(deploy(s), s, question.target_rps);
    plan.meets = keeps(*plan.at);
    if (plan.meets) return;
  }
  if (first > most) {
    plan.units = first;
    plan.limit = fmt::format("needs {} GPUs", first * c.all_gpus());
  }
}

}  // namespace orrery
