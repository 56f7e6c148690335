#include "scenario/resimulate.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <numeric>
#include <thread>

#include <fmt/format.h>

#include "base/quantile.hpp"
#include "base/rng.hpp"
#include "cost/intervals.hpp"
#include "ops/kernel_classes.hpp"
#include "report/metrics.hpp"

namespace orrery {

namespace {

/// `runs` values of N(0, 1), one from each of as many equally likely slices, in random order.
std::vector<double> stratified_normals(int runs, std::uint64_t seed, const std::string& stream) {
  Rng rng(seed, stream);
  std::vector<double> out;
  for (int i = 0; i < runs; ++i) {
    const double p = 2 * (i + 0.5) / runs - 1;
    out.push_back(p == 0 ? 0 : std::copysign(two_sided_z(std::abs(p)), p));
  }
  for (std::size_t i = out.size(); i > 1; --i) {
    std::swap(out[i - 1],
              out[static_cast<std::size_t>(rng.uniform_int(0, static_cast<std::int64_t>(i) - 1))]);
  }
  return out;
}

struct Perturbation {
  std::map<std::string, double> class_factor;
  double engine_factor = 1;
};

std::vector<Perturbation> draw(int runs, std::uint64_t seed, const TimeShares& shares, const Deployment& d) {
  std::vector<Perturbation> out(static_cast<std::size_t>(runs));
  const auto each = [&](const std::string& stream, double sigma, auto apply) {
    const auto z = stratified_normals(runs, seed, "intervals/" + stream);
    for (std::size_t i = 0; i < out.size(); ++i) apply(out[i], std::exp(sigma * z[i]));
  };
  for (const auto& [name, sigma] : sigma_by_class(shares, *d.cost)) {
    each(name, sigma, [&name = name](Perturbation& p, double f) { p.class_factor[name] = f; });
  }
  each("engine", d.engine.log_sigma, [](Perturbation& p, double f) { p.engine_factor = f; });
  return out;
}

Summary run_perturbed(const Deployment& d, const Scenario& scenario, const Perturbation& p) {
  KernelPlan plan = d.pricer().plan();
  for (const auto& entry : Registry<KernelClasses>::entries()) {
    const auto given = p.class_factor.find(std::string(error_class(*entry.make).name));
    auto& factor = plan.class_factor.try_emplace(entry.name, 1.0).first->second;
    factor *= p.engine_factor * (given == p.class_factor.end() ? 1.0 : given->second);
  }
  for (Seconds* host :
       {&plan.host_per_step, &plan.host_per_seq, &plan.host_exposed, &plan.host_exposed_prefill}) {
    *host = *host * p.engine_factor;
  }
  ClusterConfig cluster = d.cluster;
  cluster.seed = scenario.seed;
  const auto pricer =
      std::make_shared<StepPricer>(d.model, d.lowering.shard, d.device, d.topology, plan, d.cost,
                                   d.pricer().drafting(), d.pricer().image(), d.offload);
  for (auto& replica : cluster.replicas) replica.pricer = pricer;
  MetricsOptions options;
  options.percentiles = {99};
  options.warmup = to_ps(Seconds(scenario.warmup_s));
  options.replicas = d.replicas();
  Metrics metrics(options);
  Observer* observers[] = {&metrics};
  const auto source = make_source(workload_for(scenario, d), scenario.seed);
  simulate(cluster, *source, observers);
  return metrics.summary({});
}

std::vector<Summary> run_all(const Deployment& d, const Scenario& scenario,
                             const std::vector<Perturbation>& all) {
  std::vector<Summary> out(all.size());
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < all.size(); i = next++) out[i] = run_perturbed(d, scenario, all[i]);
    } catch (...) {
      if (!failed.test_and_set()) failure = std::current_exception();
    }
  };
  {
    std::jthread other(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return out;
}

}  // namespace

void resimulate_intervals(RunResult& result, const Deployment& d, const Scenario& scenario,
                          const TimeShares& shares, int runs) {
  Summary& s = result.summary;
  if (!s.confidence || s.completed == 0) return;
  const auto summaries = run_all(d, scenario, draw(runs, scenario.seed, shares, d));
  const double tail = (1 - s.confidence->level) / 2;
  const auto interval = [&](double nominal, auto value) {
    std::vector<double> values = {nominal};
    for (const auto& other : summaries) values.push_back(value(other));
    std::sort(values.begin(), values.end());
    return Interval{std::min(nominal, quantile_sorted(values, tail)),
                    std::max(nominal, quantile_sorted(values, 1 - tail))};
  };
  for (int m = 0; m < kMetricCount; ++m) {
    const auto metric = static_cast<Metric>(m);
    auto& stats = s[metric];
    if (stats.mean_interval)
      stats.mean_interval = interval(stats.mean, [&](const Summary& o) { return o[metric].mean; });
    if (stats.p99_interval)
      stats.p99_interval = interval(stats.at(99), [&](const Summary& o) { return o[metric].at(99); });
  }
  s.request_throughput_interval =
      interval(s.request_throughput, [](const Summary& o) { return o.request_throughput; });
  s.output_throughput_interval =
      interval(s.output_throughput, [](const Summary& o) { return o.output_throughput; });
  s.confidence->method = fmt::format("resimulated {} times", runs);
}

}  // namespace orrery
