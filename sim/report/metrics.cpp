#include "report/metrics.hpp"

#include <algorithm>
#include <array>

#include "report/activity.hpp"
#include "report/distribution.hpp"
#include "report/gaps.hpp"
#include "report/load_over_time.hpp"
#include "report/request_groups.hpp"
#include "report/slo.hpp"
#include "report/stability.hpp"
#include "report/warnings.hpp"

namespace orrery {

namespace {

struct PerReplica {
  std::int64_t decode_ps = 0, prefill_ps = 0;
};

std::vector<double> ascending(std::vector<double> a, const std::vector<double>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end());
  a.erase(std::unique(a.begin(), a.end()), a.end());
  return a;
}

}  // namespace

struct Metrics::Impl {
  explicit Impl(MetricsOptions o)
      : options(std::move(o)),
        percentiles(ascending(options.percentiles, options.slo.percentiles())),
        classes(options.max_exact_requests),
        e2el(options.max_exact_requests),
        gaps(options.max_exact_runs),
        replicas(static_cast<std::size_t>(std::max(1, options.replicas))) {
    for (int m = 0; m < kMetricCount; ++m) {
      thresholds[static_cast<std::size_t>(m)] = options.slo.threshold_ms(static_cast<Metric>(m));
    }
  }

  bool warming_up(RequestId id, Ps arrival) const {
    return arrival < options.warmup || id < options.warmup_requests;
  }
  bool has_warmup() const { return options.warmup.value > 0 || options.warmup_requests > 0; }
  /// Whether steps from `start` on are counted: they are once the first counted request has come.
  bool counting(Ps start) const { return start >= (has_warmup() ? first_arrival : Ps(0)); }
  Ps start_of_run() const {
    if (options.warmup_requests > 0 && first_arrival != kNever) return first_arrival;
    return options.warmup;
  }

  PerReplica& replica(CoreId where) {
    const auto i = static_cast<std::size_t>(where.replica);
    if (i >= replicas.size()) replicas.resize(i + 1);
    return replicas[i];
  }

  /// `unfilled`: slots without a token in used blocks, on the mean.
  void add_load(const CoreLoad& load, Ps start, Ps duration, double blocks_grown, double unfilled) {
    const double seconds = to_seconds(duration).value;
    running.add(static_cast<double>(load.running), seconds);
    waiting.add(static_cast<double>(load.waiting), seconds);
    if (load.waiting > 0) activity.waiting(start, start + duration, load.waiting);
    if (load.kv_blocks_total > 0) {
      const double total = static_cast<double>(load.kv_blocks_total);
      const double used = static_cast<double>(load.kv_blocks_used);
      kv.add(std::min(1.0, (used + blocks_grown / 2) / total), seconds);
      kv_peak = std::max(kv_peak, std::min(1.0, (used + blocks_grown) / total));
      memory.add(load, seconds, blocks_grown, unfilled, options.kv_block_size);
    }
  }

  /// Answers of one token have no TPOT to miss.
  bool meets_slo(const Served& s) const {
    const auto within = [&](Metric m, double value) {
      const auto& limit = thresholds[static_cast<std::size_t>(m)];
      return !limit || !(value > *limit);
    };
    return within(Metric::ttft, s.ttft_ms) && within(Metric::tpot, s.tpot_ms) &&
           within(Metric::e2el, s.e2el_ms);
  }

  void fill_throughput(Summary& s) const;
  void fill_load(Summary& s) const;
  void fill_slo(Summary& s) const;

  MetricsOptions options;
  std::vector<double> percentiles;
  std::array<std::optional<double>, kMetricCount> thresholds;
  RequestClasses classes;
  ClientTable clients;
  Distribution e2el;
  GapDistribution gaps;
  Activity activity;
  LoadOverTime running, waiting, kv;
  MemoryOverTime memory;
  double kv_peak = 0;
  std::vector<PerReplica> replicas;

  Ps first_arrival = kNever, last_arrival{0}, last_done{0}, end{0};
  std::int64_t arrivals = 0, all_arrivals = 0, left = 0, preemptions = 0;
  std::int64_t excluded = 0, cached_tokens = 0, hit_requests = 0;
  LaterTurns later_turns;
  double front_end_ms = 0, queue_ms = 0, prefill_ms = 0;
  std::map<std::string, std::int64_t> failures;
};

Metrics::Metrics(MetricsOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Metrics::~Metrics() = default;

void Metrics::on_decode_run(const DecodeRun& run) {
  auto& m = *impl_;
  const Ps duration = run.duration();
  m.replica(run.where).decode_ps += std::llround(run.gpu_share * static_cast<double>(duration.value));
  if (!m.counting(run.start)) return;
  const auto block = m.options.kv_block_size;
  const double grown = block > 0 ? static_cast<double>(run.tokens()) / static_cast<double>(block) : 0.0;
  m.add_load(run.load, run.start, duration, grown, unfilled_in(run, block));
  if (run.stalled_seqs > 0) {
    m.gaps.add_after_stall(run);
  } else {
    m.gaps.add(run.first, run.slope, run.steps, run.seqs);
  }
  m.activity.tokens(run);
}

void Metrics::on_mixed_step(const MixedStep& step) {
  auto& m = *impl_;
  m.replica(step.where).prefill_ps += std::llround(step.gpu_share * static_cast<double>(step.duration.value));
  if (!m.counting(step.start)) return;
  m.add_load(step.load, step.start, step.duration, 0, static_cast<double>(step.load.kv_tokens_unfilled));
  m.gaps.add(step.duration + step.stall, step.stalled_seqs);
  m.gaps.add(step.duration, step.decode_seqs - step.stalled_seqs);
  std::int64_t tokens = step.decode_seqs + step.extra_tokens;
  for (const auto& chunk : step.chunks) tokens += chunk.last ? 1 : 0;
  m.activity.tokens(step.start + step.duration, tokens);
}

void Metrics::on_arrival(const Request& request, CoreId) {
  auto& m = *impl_;
  ++m.all_arrivals;
  if (m.warming_up(request.id, request.arrival)) {
    ++m.excluded;
    return;
  }
  if (m.first_arrival == kNever) {
    m.first_arrival = request.arrival;
    m.activity.set_origin(request.arrival);
  }
  m.last_arrival = std::max(m.last_arrival, request.arrival);
  ++m.arrivals;
  m.activity.arrival(request.arrival);
  m.clients.arrived(request.client);
}

void Metrics::on_preemption(RequestId, CoreId, Ps) {
  ++impl_->preemptions;
}

void Metrics::on_resumed(RequestId, CoreId, Ps gap) {
  impl_->gaps.add(gap, 1);
}

void Metrics::on_request_done(const RequestRecord& r) {
  auto& m = *impl_;
  ++m.left;
  if (m.warming_up(r.id, r.arrival)) return;
  if (r.failure) {
    ++m.failures[r.failure];
    m.classes.failed(r);
    m.clients.failed(r);
    m.activity.forget_arrival(r.arrival);
    return;
  }
  Served served;
  served.ttft_ms = to_ms(r.first_token - r.arrival), served.e2el_ms = to_ms(r.done - r.arrival);
  if (r.output_tokens > 1)
    served.tpot_ms = to_ms(r.done - r.first_token) / static_cast<double>(r.output_tokens - 1);
  const double queue_ms = to_ms(r.scheduled - r.queued);
  if (served.e2el_ms > queue_ms) served.slowdown = served.e2el_ms / (served.e2el_ms - queue_ms);
  served.good = m.meets_slo(served);
  m.classes.completed(r, served);
  m.clients.completed(r, served);
  m.e2el.add(served.e2el_ms);
  m.last_done = std::max(m.last_done, r.done);
  m.activity.completion(r.done);
  m.cached_tokens += r.cached_tokens;
  m.hit_requests += r.cached_tokens > 0 ? 1 : 0;
  if (r.turn > 0) {
    ++m.later_turns.requests;
    m.later_turns.input_tokens += r.prompt_tokens, m.later_turns.cached_tokens += r.cached_tokens;
  }
  m.front_end_ms += to_ms(r.queued - r.arrival);
  m.queue_ms += queue_ms;
  m.prefill_ms += to_ms(r.first_token - r.scheduled);
}

void Metrics::on_end(Ps end) {
  impl_->end = end;
}

void Metrics::Impl::fill_throughput(Summary& s) const {
  const RequestCounts& counts = classes.all().counts;
  s.completed = counts.completed, s.failed = counts.failed;
  s.failures = failures;
  s.excluded = excluded;
  s.unfinished = all_arrivals - left;
  s.simulated_s = to_seconds(end).value;
  s.total_input_tokens = counts.input_tokens, s.total_output_tokens = counts.output_tokens;
  s.cached_tokens = cached_tokens, s.hit_requests = hit_requests;
  s.later_turns = later_turns;
  s.duration_s = std::max(0.0, to_seconds(last_done - start_of_run()).value);
  if (arrivals > 0) s.drain_s = std::clamp(to_seconds(last_done - last_arrival).value, 0.0, s.duration_s);
  const auto rate = [&](std::int64_t count) {
    return s.duration_s > 0 ? static_cast<double>(count) / s.duration_s : 0.0;
  };
  s.request_throughput = rate(counts.completed);
  s.output_throughput = rate(counts.output_tokens);
  s.total_token_throughput = rate(counts.input_tokens + counts.output_tokens);
  s.max_output_tokens_per_s = activity.peak_tokens();
  s.max_concurrent_requests = activity.peak_active();
  if (options.slo.has_thresholds()) {
    s.request_goodput = rate(counts.good);
    const auto counted = counts.completed + counts.failed;
    if (counted > 0) s.attainment = static_cast<double>(counts.good) / static_cast<double>(counted);
  }
  const double arrivals_s = arrivals > 1 ? to_seconds(last_arrival - first_arrival).value : 0.0;
  if (arrivals_s > 0) s.arrival_rps = static_cast<double>(arrivals - 1) / arrivals_s;
  s.stability = judge_stability(activity, arrivals, arrivals_s, static_cast<int>(replicas.size()));
}

void Metrics::Impl::fill_load(Summary& s) const {
  const double from = has_warmup() && first_arrival != kNever ? to_seconds(first_arrival).value : 0.0;
  const double cores = options.engine_cores;
  const double seconds = (s.simulated_s - from) * static_cast<double>(replicas.size()) * cores;
  s.running = running.over(seconds), s.waiting = waiting.over(seconds), s.kv_used = kv.over(seconds);
  s.kv_used.peak = kv_peak;
  s.kv_memory = memory.over(seconds);
  s.preemptions = preemptions;
  for (const auto& r : replicas) {
    const double decode = to_seconds(Ps(r.decode_ps)).value / cores;
    const double prefill = to_seconds(Ps(r.prefill_ps)).value / cores;
    s.gpu.push_back({decode, prefill, std::max(0.0, s.simulated_s - decode - prefill)});
  }
  if (const auto completed = classes.all().counts.completed; completed > 0) {
    const double n = static_cast<double>(completed);
    s.front_end_ms = front_end_ms / n, s.queue_ms = queue_ms / n, s.prefill_ms = prefill_ms / n;
  }
}

void Metrics::Impl::fill_slo(Summary& s) const {
  for (const auto& term : options.slo.terms) {
    SloResult result{term, 0, true};
    switch (term.target) {
      case SloTerm::Target::latency:
        if (term.over == SloTerm::Over::requests) continue;
        result.value =
            term.over == SloTerm::Over::mean ? s[term.metric].mean : s[term.metric].at(term.percentile);
        result.pass = s[term.metric].samples == 0 ? s.completed > 0 : result.value <= term.limit;
        break;
      case SloTerm::Target::attainment:
        result.value = s.attainment.value_or(0);
        result.pass = result.value >= term.limit;
        break;
      case SloTerm::Target::goodput:
        result.value = s.request_goodput.value_or(0);
        result.pass = result.value >= term.limit;
        break;
    }
    s.slo.push_back(result);
  }
}

std::vector<double> Metrics::curve(Metric metric, std::span<const double> percentiles) const {
  auto& m = *impl_;
  if (metric == Metric::itl) return m.gaps.curve(percentiles);
  RequestClass& all = m.classes.all();
  Distribution& sample = metric == Metric::ttft ? all.ttft : metric == Metric::tpot ? all.tpot : m.e2el;
  const MetricStats stats = sample.stats(percentiles, PercentileMethod::linear);
  std::vector<double> out;
  if (stats.samples == 0) return out;
  for (const double percent : percentiles) out.push_back(stats.at(percent));
  return out;
}

Summary Metrics::summary(RunInfo info) const {
  auto& m = *impl_;
  Summary s;
  s.info = std::move(info);
  s.percentile_method = m.options.method;
  s[Metric::ttft] = m.classes.all().ttft.stats(m.percentiles, m.options.method);
  s[Metric::tpot] = m.classes.all().tpot.stats(m.percentiles, m.options.method);
  s[Metric::itl] = m.gaps.stats(m.percentiles, m.options.method);
  s[Metric::e2el] = m.e2el.stats(m.percentiles, m.options.method);
  m.fill_throughput(s);
  m.fill_load(s);
  m.fill_slo(s);
  s.fairness.classes = m.classes.stats(m.options.method, m.options.slo.has_thresholds());
  m.clients.fill(s.fairness, m.options.slo.has_thresholds());
  add_warnings(s);
  add_cost(s);
  return s;
}

}  // namespace orrery
