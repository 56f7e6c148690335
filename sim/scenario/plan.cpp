#include "scenario/plan.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

/// Calls `work(i)` for all i below `count`, on several threads.
template <class Work>
void parallel(std::size_t count, int threads, Work work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failed;
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failed = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(loop);
    loop();
  }
  if (failed) std::rethrow_exception(failed);
}

/// $/h of a unit; without prices, its GPUs.
double cost(const PlanQuestion& question, const PlanCandidate& c) {
  double sum = 0;
  for (const auto& [device, n] : c.gpus) {
    const auto it = question.usd_per_gpu_hour.find(device);
    sum += n * (it == question.usd_per_gpu_hour.end() ? 1 : it->second);
  }
  return sum;
}

/// What the load would cost, were the estimate true.
double promise(const PlanQuestion& question, const Plan& plan) {
  const double units = question.target_rps / plan.estimate.rate;
  return cost(question, plan.candidate) *
         (question.target_rps > 0 ? std::ceil(units) : 1 / plan.estimate.rate);
}

/// The most promising: in turn of each device and split, so that none is judged by its estimate alone.
std::vector<Plan> choose(const PlanQuestion& question, std::vector<Plan> all) {
  std::stable_sort(all.begin(), all.end(),
                   [&](const Plan& a, const Plan& b) { return promise(question, a) < promise(question, b); });
  // An estimate is off by less than this; what looks worse than that is not simulated.
  constexpr double kHopeless = 2.5;
  while (!all.empty() && promise(question, all.back()) > kHopeless * promise(question, all.front()))
    all.pop_back();
  std::vector<Plan> out;
  std::vector<bool> taken(all.size(), false);
  while (out.size() < std::min(question.simulate, all.size())) {
    std::set<std::string> kinds;
    for (std::size_t i = 0; i < all.size() && out.size() < question.simulate; ++i) {
      const PlanCandidate& c = all[i].candidate;
      std::string kind = fmt::format("{} {}", c.prefill, c.decode);
      for (const auto& [device, n] : c.gpus) kind += fmt::format(" {} {}", device, n);
      if (taken[i] || !kinds.insert(kind).second) continue;
      taken[i] = true;
      out.push_back(all[i]);
    }
  }
  return out;
}

void add_cost(Plan& plan, const PlanQuestion& question) {
  for (const auto& [device, n] : plan.candidate.gpus) {
    if (!question.usd_per_gpu_hour.count(device)) return;
  }
  if (plan.units == 0) return;
  plan.usd_per_hour = plan.units * cost(question, plan.candidate);
  if (plan.at && plan.at->output_throughput > 0)
    plan.usd_per_million_output_tokens = *plan.usd_per_hour / (plan.at->output_throughput * 3600) * 1e6;
}

/// Cheapest first; without prices, fewest GPUs; without a target, cheapest per request.
void rank(std::vector<Plan>& plans, const PlanQuestion& question) {
  const auto spent = [&](const Plan& p) {
    return cost(question, p.candidate) * (question.target_rps > 0 ? p.units : 1 / p.unit_rps);
  };
  std::stable_sort(plans.begin(), plans.end(), [&](const Plan& a, const Plan& b) {
    if (a.meets != b.meets) return a.meets;
    if (!a.meets) return a.unit_rps / a.candidate.all_gpus() > b.unit_rps / b.candidate.all_gpus();
    if (spent(a) != spent(b)) return spent(a) < spent(b);
    return a.unit_rps * a.units > b.unit_rps * b.units;
  });
}

/// Why nothing meets the promises: the nearest of those that were tried.
std::string why_infeasible(const PlanAnswer& answer) {
  const PlanQuestion& q = answer.question;
  const Plan* alone = nullptr;
  for (const Plan& p : answer.plans) {
    if (p.unit_rps > 0) {
      return fmt::format("{} GPUs do not carry {:g} req/s: {} needs {} for it", q.max_gpus, q.target_rps,
                         describe(p.candidate), p.gpus());
    }
    if (!alone) alone = &p;
  }
  const auto lone = [](const Plan& p) {
    return fmt::format(
        "{}: a request alone takes {:.3g} ms to its first token and {:.3g} ms for each further one",
        describe(p.candidate), p.estimate.ttft_ms, p.estimate.tpot_ms);
  };
  if (alone) return "no load is served within the limits (" + alone->limit + "); " + lone(*alone);
  const Plan* nearest = nullptr;
  for (const Plan& p : answer.refused) {
    if (p.estimate.tpot_ms > 0 &&
        (!nearest || p.estimate.ttft_ms + 100 * p.estimate.tpot_ms <
                         nearest->estimate.ttft_ms + 100 * nearest->estimate.tpot_ms))
      nearest = &p;
  }
  if (nearest) return nearest->estimate.refused + ": the best is " + lone(*nearest);
  return answer.refused.empty() ? "nothing was searched" : answer.refused.front().estimate.refused;
}

}  // namespace

double Plan::tokens_per_s_per_gpu() const {
  return at ? at->output_throughput / at->info.all_gpus() : 0;
}
double Plan::tokens_per_s_per_user() const {
  return at ? 1000 / (*at)[Metric::tpot].mean : 0;
}

PlanAnswer make_plan(const PlanQuestion& question) {
  const auto started = std::chrono::steady_clock::now();
  PlanAnswer answer;
  answer.question = question;
  std::vector<Plan> all;
  for (PlanCandidate& c : plan_candidates(question)) {
    all.emplace_back();
    all.back().candidate = std::move(c);
  }
  const Scenario& first = all.front().candidate.scenario;
  if (first.slo.empty())
    throw ConfigError("a plan needs promises to keep", "--slo 'ttft<=1000ms@p99,tpot<=50ms@p99'",
                      ExitCode::usage);
  const WorkloadMeans means = workload_means(first);
  parallel(all.size(), question.threads,
           [&](std::size_t i) { all[i].estimate = estimate(all[i].candidate.scenario, means); });
  std::vector<Plan> able;
  if (question.disaggregated) {
    for (const Plan& prefill : all) {
      for (const Plan& decode : all) {
        if (auto pools = plan_pools(question, prefill, decode)) able.push_back(std::move(*pools));
      }
    }
  }
  answer.configurations = all.size() + able.size();
  for (Plan& plan : all) (plan.estimate.refused.empty() ? able : answer.refused).push_back(std::move(plan));
  answer.plans = choose(question, able);
  answer.not_simulated = able.size() - answer.plans.size();
  std::mutex mutex;
  std::size_t done = 0;
  parallel(answer.plans.size(), question.threads, [&](std::size_t i) {
    Plan& plan = answer.plans[i];
    try {
      find_rate(plan);
      find_units(plan, question);
      add_cost(plan, question);
    } catch (const ConfigError& e) {
      plan.limit = e.what();
    }
    const std::lock_guard lock(mutex);
    if (question.progress) question.progress(++done, answer.plans.size());
  });
  rank(answer.plans, question);
  if (answer.plans.empty() || !answer.plans.front().meets) answer.infeasible = why_infeasible(answer);
  answer.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return answer;
}

}  // namespace orrery
