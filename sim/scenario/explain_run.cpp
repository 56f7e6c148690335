#include "scenario/explain_run.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"
#include "scenario/time_parts.hpp"

namespace orrery {

namespace {

/// Each request's value of a metric.
class Values final : public Observer {
 public:
  explicit Values(Metric metric) : metric_(metric) {}
  void on_request_done(const RequestRecord& r) override {
    if (r.failure) return;
    const std::int64_t gaps = r.output_tokens - 1;
    const auto ms = [](Ps t) { return static_cast<double>(t.value) / 1e9; };
    if (metric_ == Metric::ttft) all.emplace_back(ms(r.first_token - r.arrival), r.id);
    if (metric_ == Metric::e2el) all.emplace_back(ms(r.done - r.arrival), r.id);
    if ((metric_ == Metric::tpot || metric_ == Metric::itl) && gaps > 0)
      all.emplace_back(ms(r.done - r.first_token) / static_cast<double>(gaps), r.id);
  }
  std::vector<std::pair<double, RequestId>> all;

 private:
  Metric metric_;
};

/// The requests around a percentile, half a percent of them to each side and ten at least; all for a mean.
std::vector<RequestId> band_of(std::vector<std::pair<double, RequestId>> values, const MetricQuestion& q) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  double low = 0, high = n;
  if (!q.mean) {
    const double half = std::max(5.0, 0.005 * n);
    const double middle = std::clamp(q.percentile / 100 * (n - 1), half, std::max(half, n - half));
    low = middle - half, high = middle + half;
  }
  std::vector<RequestId> out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<double>(i);
    if (at >= low && at <= high) out.push_back(values[i].second);
  }
  return out;
}

double value_of(const Summary& s, const MetricQuestion& q) {
  const MetricStats& stats = s[q.metric];
  return q.mean ? stats.mean : stats.at(q.percentile);
}

RunOptions options_for(const MetricQuestion& q) {
  RunOptions options;
  options.percentiles = {50, 90, 99};
  if (!q.mean && std::find(options.percentiles.begin(), options.percentiles.end(), q.percentile) ==
                     options.percentiles.end()) {
    options.percentiles.push_back(q.percentile);
    std::sort(options.percentiles.begin(), options.percentiles.end());
  }
  return options;
}

WhatIf change(const std::string& setting, std::int64_t from, std::int64_t to) {
  WhatIf out;
  out.change = fmt::format("{} {} -> {}", setting, from, to);
  out.assignment = {setting, std::to_string(to), "what if", "", 0};
  return out;
}

/// Single changes that a planner could make to this deployment.
std::vector<WhatIf> candidates(const Scenario& s, const Deployment& d) {
  const EngineSettings& now = d.settings;
  std::vector<WhatIf> out = {
      change("max_num_seqs", now.max_num_seqs, 2 * now.max_num_seqs),
      change("max_num_seqs", now.max_num_seqs, std::max<std::int64_t>(1, now.max_num_seqs / 2)),
      change("max_num_batched_tokens", now.max_num_batched_tokens, 4 * now.max_num_batched_tokens),
      change("max_num_batched_tokens", now.max_num_batched_tokens,
             std::max<std::int64_t>(now.max_num_seqs, now.max_num_batched_tokens / 4)),
      change("tensor_parallel_size", s.tensor_parallel_size, 2 * std::int64_t{s.tensor_parallel_size}),
  };
  if (s.pools.prefill_replicas > 0) {
    out.push_back(change("prefill_replicas", s.pools.prefill_replicas, s.pools.prefill_replicas + 1));
    out.push_back(change("decode_replicas", s.pools.decode_replicas, s.pools.decode_replicas + 1));
  } else {
    out.push_back(change("replicas", s.replicas, s.replicas + 1));
  }
  if (!now.enable_prefix_caching) {
    WhatIf caching;
    caching.change = "enable_prefix_caching";
    caching.assignment = {"enable_prefix_caching", "true", "what if", "", 0};
    out.push_back(caching);
  }
  return out;
}

Scenario with(const Scenario& scenario, const Assignment& a) {
  Scenario out = scenario;
  find_setting(a.name)->set(out, a.value);
  return out;
}

void simulate(WhatIf& w, const Scenario& scenario, const MetricQuestion& q) {
  try {
    const Summary s = run_scenario(with(scenario, w.assignment), options_for(q)).summary;
    w.value = value_of(s, q);
    w.ttft_p99 = s[Metric::ttft].at(99), w.tpot_p99 = s[Metric::tpot].at(99);
    w.output_throughput = s.output_throughput;
  } catch (const ConfigError& e) {
    w.refused = e.what();
  }
}

}  // namespace

MetricQuestion parse_metric_question(const std::string& text) {
  // The SLO's words, with a limit that nobody reads.
  const auto at = text.find('@');
  const std::string term = text.substr(0, at) + "<=1ms" + (at == std::string::npos ? "" : text.substr(at));
  const Slo slo = parse_slo(term);
  MetricQuestion out;
  if (slo.terms.size() != 1 || slo.terms[0].target != SloTerm::Target::latency) {
    throw ConfigError("expected a latency and a percentile, found '" + text + "'",
                      "ttft@p99, tpot@mean, e2e@p50", ExitCode::usage);
  }
  out.metric = slo.terms[0].metric;
  out.mean = slo.terms[0].over == SloTerm::Over::mean;
  out.percentile = slo.terms[0].percentile;
  out.text =
      fmt::format("{} {}", label(out.metric), out.mean ? "mean" : fmt::format("p{:g}", out.percentile));
  return out;
}

RunExplanation explain_run(const Scenario& scenario, const MetricQuestion& question) {
  RunExplanation out;
  out.question = question;
  const Deployment deployment = deploy(scenario);
  Values values(question.metric);
  RunOptions options = options_for(question);
  options.observers = {&values};
  out.summary = run_deployed(deployment, scenario, options).summary;
  out.value = value_of(out.summary, question);
  out.requests = static_cast<std::int64_t>(values.all.size());
  if (out.requests == 0)
    throw ConfigError("no request of this run has a " + std::string(label(question.metric)));

  TimePartsObserver parts(band_of(std::move(values.all), question), question.metric,
                          deployment.cluster.replicas.front().scheduler.max_num_seqs,
                          deployment.cluster.replicas.front().kv.block_size);
  options.observers = {&parts};
  run_deployed(deployment, scenario, options);
  out.parts = parts.mean();
  out.band = parts.followed();

  out.what_ifs = candidates(scenario, deployment);
  for (WhatIf& w : out.what_ifs) simulate(w, scenario, question);
  std::stable_sort(out.what_ifs.begin(), out.what_ifs.end(), [](const WhatIf& a, const WhatIf& b) {
    if (a.refused.empty() != b.refused.empty()) return a.refused.empty();
    return a.refused.empty() && a.value < b.value;
  });
  return out;
}

OrderedJson to_json(const RunExplanation& e) {
  const TimeParts& p = e.parts;
  OrderedJson what_ifs = OrderedJson::array();
  for (const WhatIf& w : e.what_ifs) {
    OrderedJson one = {{"change", w.change}};
    if (w.refused.empty()) {
      one["value_ms"] = w.value;
      one["p99_ttft_ms"] = w.ttft_p99, one["p99_tpot_ms"] = w.tpot_p99;
      one["output_throughput"] = w.output_throughput;
    } else {
      one["refused"] = w.refused;
    }
    what_ifs.push_back(one);
  }
  return {{"metric", e.question.text},
          {"value_ms", e.value},
          {"requests", e.requests},
          {"explained", e.band},
          {"parts_ms",
           {{"front_end", p.front_end},
            {"slot_wait", p.slot_wait},
            {"memory_wait", p.memory_wait},
            {"turn_wait", p.turn_wait},
            {"prefill", p.prefill},
            {"prefill_shared", p.prefill_shared},
            {"prefill_paused", p.prefill_paused},
            {"decode", p.decode},
            {"decode_interfered", p.decode_interfered},
            {"decode_paused", p.decode_paused}}},
          {"what_if", what_ifs}};
}

}  // namespace orrery
