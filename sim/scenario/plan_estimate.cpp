#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "ops/equal_sequences.hpp"
#include "scenario/headroom.hpp"
#include "scenario/plan.hpp"

namespace orrery {

namespace {

/// Prompts that share prefixes may be found in the cache: at best, all but this part of their tokens.
constexpr double kComputed = 0.1;

/// Prompts, one after the other, in steps of the token budget.
double prompt_s(StepPricer& pricer, double prompt, double budget) {
  double seconds = 0, past = 0;
  while (past < prompt) {
    const double now = std::max(1.0, std::min(budget, prompt - past));
    const PrefillChunk chunk{static_cast<Tokens>(std::llround(now)), static_cast<Tokens>(past)};
    seconds += to_seconds(pricer.mixed({}, std::span(&chunk, 1))).value;
    past += now;
  }
  return seconds;
}

DecodeSet equal_set(const StepPricer& pricer, std::int64_t seqs, double context) {
  return equal_sequences(pricer.model().caps(), seqs, static_cast<Tokens>(std::llround(context)));
}

/// The largest batch, in powers of two, whose decode steps keep the promised time per token; 0 = none.
std::int64_t largest_batch(StepPricer& pricer, std::int64_t most, double context, double tokens_per_step,
                           double limit_ms) {
  std::int64_t best = 0;
  for (std::int64_t n = 1; n <= most; n = n < most ? std::min(2 * n, most) : most + 1) {
    const double step = to_seconds(pricer.decode(equal_set(pricer, n, context)).first).value;
    if (step * 1e3 / tokens_per_step > limit_ms) break;
    best = n;
  }
  return best;
}

}  // namespace

WorkloadMeans workload_means(const Scenario& scenario) {
  constexpr int kEnough = 20000;
  WorkloadSpec spec = scenario.workload;
  spec.max_concurrency = 0;
  const RequestSourcePtr source = make_source(spec, scenario.seed);
  WorkloadMeans means;
  Request request;
  double n = 0;
  for (; n < kEnough && source->next(request); ++n) {
    means.prompt_tokens += request.prompt_tokens;
    means.output_tokens += request.output_tokens;
    means.shares_prefixes = means.shares_prefixes || request.prefix != nullptr;
  }
  if (n == 0) throw ConfigError("the workload has no requests");
  means.prompt_tokens /= n, means.output_tokens /= n;
  return means;
}

PlanEstimate estimate(const Scenario& scenario, const WorkloadMeans& means) {
  PlanEstimate out;
  try {
    const Deployment d = deploy(scenario);
    const ReplicaConfig& replica = d.cluster.replicas.front();
    StepPricer& pricer = *replica.pricer;
    const Slo slo = parse_slo(scenario.slo);
    const double context = means.prompt_tokens + means.output_tokens / 2;
    const double tokens_per_step = replica.scheduler.decoder.tokens_per_step();
    const auto budget = static_cast<double>(replica.scheduler.max_num_batched_tokens);
    const double prompt = prompt_s(pricer, means.prompt_tokens, budget);
    out.ttft_ms = (prompt + to_seconds(replica.front_end.in + replica.front_end.out).value) * 1e3;
    out.tpot_ms =
        to_seconds(pricer.decode(equal_set(pricer, 1, context)).first).value * 1e3 / tokens_per_step;

    const double limit = slo.threshold_ms(Metric::tpot).value_or(1e18);
    const double computed = means.shares_prefixes ? kComputed * means.prompt_tokens : means.prompt_tokens;
    const double cores = replica.engine_cores;
    const auto ttft = slo.threshold_ms(Metric::ttft);
    const bool slow_prompt = ttft && out.ttft_ms > *ttft && !means.shares_prefixes;
    if (!slow_prompt) out.prefill_rate = cores / (prompt * computed / means.prompt_tokens);
    const std::int64_t batch =
        largest_batch(pricer, replica.scheduler.max_num_seqs, context, tokens_per_step, limit);
    if (batch == 0) {
      out.refused = "TPOT of a lone request is over the limit";
      return out;
    }
    SchedulerConfig scheduler = replica.scheduler;
    scheduler.max_num_seqs = batch;
    out.decode_rate =
        cores * saturation_rate(pricer, scheduler, replica.kv, {1, means.prompt_tokens, means.output_tokens});
    if (slow_prompt) {
      out.refused = "TTFT of a lone request is over the limit";
      return out;
    }
    out.rate = cores * saturation_rate(pricer, scheduler, replica.kv,
                                       {std::max(1.0, computed), means.prompt_tokens, means.output_tokens});
    if (out.rate <= 0) out.refused = "no request fits into its KV cache";
  } catch (const ConfigError& e) {
    out.refused = e.what();
  }
  return out;
}

}  // namespace orrery
