#include "report/summary.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace orrery {

namespace {

constexpr int kSchemaVersion = 1;

std::string_view name(PercentileMethod m) {
  constexpr std::string_view names[] = {"linear", "nearest", "mlperf"};
  return names[static_cast<int>(m)];
}

OrderedJson to_json(const TimeWeighted& t) {
  return {{"mean", t.mean}, {"p99", t.p99}, {"peak", t.peak}};
}

/// Keys with no value are left out, except where vLLM writes null.
template <class T>
void put_if(OrderedJson& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}
void put_if(OrderedJson& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

void put_run(OrderedJson& json, const RunInfo& info) {
  put_if(json, "date", info.date);
  put_if(json, "backend", info.backend);
  put_if(json, "label", info.label);
  put_if(json, "model_id", info.model_id);
  put_if(json, "num_prompts", info.num_prompts);
  if (info.request_rate) {
    json["request_rate"] =
        std::isinf(*info.request_rate) ? OrderedJson("inf") : OrderedJson(*info.request_rate);
  }
  put_if(json, "burstiness", info.burstiness);
  json["max_concurrency"] = info.max_concurrency ? OrderedJson(*info.max_concurrency) : OrderedJson();
}

void put_metrics(OrderedJson& json, const Summary& s) {
  for (int i = 0; i < kMetricCount; ++i) {
    const auto metric = static_cast<Metric>(i);
    const auto& stats = s[metric];
    const auto key = [&](std::string_view statistic) {
      return fmt::format("{}_{}_ms", statistic, name(metric));
    };
    json[key("mean")] = stats.mean;
    json[key("median")] = stats.median;
    json[key("std")] = stats.std;
    for (const auto& [percent, value] : stats.percentiles) json[key(fmt::format("p{:g}", percent))] = value;
  }
}

OrderedJson setup_json(const Summary& s) {
  OrderedJson json;
  put_if(json, "engine", s.info.engine);
  put_if(json, "gpu", s.info.gpu);
  put_if(json, "workload", s.info.workload);
  json["parallelism"] = s.info.parallelism;
  json["replicas"] = s.info.replicas;
  json["gpus_per_replica"] = s.info.gpus_per_replica;
  if (s.info.max_num_seqs > 0) json["max_num_seqs"] = s.info.max_num_seqs;
  if (s.info.kv_capacity_tokens > 0) json["kv_capacity_tokens"] = s.info.kv_capacity_tokens;
  if (s.info.kv_max_concurrency) {
    json["max_model_len"] = s.info.max_model_len;
    json["kv_max_concurrency"] = *s.info.kv_max_concurrency;
  }
  return json;
}

OrderedJson slo_json(const Summary& s) {
  OrderedJson json;
  json["met"] = s.slo_met();
  json["terms"] = OrderedJson::array();
  for (const auto& r : s.slo) {
    json["terms"].push_back(
        {{"term", r.term.text}, {"limit", r.term.limit}, {"value", r.value}, {"pass", r.pass}});
  }
  return json;
}

OrderedJson samples_json(const Summary& s) {
  OrderedJson json;
  for (int i = 0; i < kMetricCount; ++i) {
    const auto& stats = s.metrics[static_cast<std::size_t>(i)];
    json[std::string(name(static_cast<Metric>(i)))] = {
        {"samples", stats.samples}, {"exact", stats.exact}, {"min_ms", stats.min}, {"max_ms", stats.max}};
  }
  return json;
}

OrderedJson load_json(const Summary& s) {
  return {{"running", to_json(s.running)},
          {"waiting", to_json(s.waiting)},
          {"kv_used", to_json(s.kv_used)},
          {"preemptions", s.preemptions},
          {"arrival_rps", s.arrival_rps}};
}

OrderedJson memory_json(const KvMemory& m) {
  return {{"allocated", m.allocated},
          {"peak", m.peak},
          {"stored", m.stored},
          {"unfilled", m.unfilled},
          {"set_aside", m.set_aside},
          {"free_while_waiting", m.free_while_waiting},
          {"internal_waste", m.internal_waste()}};
}

OrderedJson prefix_json(const Summary& s) {
  OrderedJson json = {{"hit_tokens", s.cached_tokens},
                      {"hit_rate", s.prefix_hit_rate()},
                      {"hit_requests", s.hit_requests},
                      {"request_hit_rate", s.request_hit_rate()},
                      {"evicted_blocks", s.evicted_blocks}};
  if (s.later_turns.requests > 0)
    json["later_turns"] = {{"requests", s.later_turns.requests}, {"hit_rate", s.later_turns.hit_rate()}};
  return json;
}

OrderedJson gpu_json(const Summary& s) {
  auto json = OrderedJson::array();
  for (const auto& g : s.gpu) {
    json.push_back({{"decode_s", g.decode_s}, {"prefill_s", g.prefill_s}, {"idle_s", g.idle_s}});
  }
  return json;
}

OrderedJson stability_json(const Stability& s) {
  OrderedJson json = {{"judged", s.judged}, {"unstable", s.unstable}};
  if (s.judged) {
    json["arrival_rps_per_replica"] = s.arrival_rps_per_replica;
    json["served_rps_per_replica"] = s.served_rps_per_replica;
    json["queue_growth_rps"] = s.queue_growth_rps;
    json["arrivals_s"] = s.arrivals_s;
  }
  return json;
}

OrderedJson intervals_json(const Summary& s) {
  OrderedJson json = {{"level", s.confidence->level}, {"method", s.confidence->method}};
  const auto put = [&](const std::string& key, const std::optional<Interval>& interval) {
    if (interval) json[key] = {interval->low, interval->high};
  };
  for (int i = 0; i < kMetricCount; ++i) {
    const auto metric = static_cast<Metric>(i);
    put(fmt::format("mean_{}_ms", name(metric)), s[metric].mean_interval);
    put(fmt::format("p99_{}_ms", name(metric)), s[metric].p99_interval);
  }
  put("request_throughput", s.request_throughput_interval);
  put("output_throughput", s.output_throughput_interval);
  return json;
}

OrderedJson confidence_json(const Confidence& c) {
  OrderedJson json;
  json["time_by_kernel_class"] = c.by_class;
  json["time_by_provenance"] = c.by_provenance;
  json["step_time_error"] = c.step_time_error;
  json["level"] = c.level;
  json["sources"] = c.sources;
  return json;
}

OrderedJson ours(const Summary& s) {
  OrderedJson json;
  json["schema_version"] = kSchemaVersion;
  json["setup"] = setup_json(s);
  json["interrupted"] = s.interrupted;
  json["simulated_s"] = s.simulated_s;
  json["unfinished"] = s.unfinished;
  json["warmup_excluded"] = s.excluded;
  json["failures"] = s.failures;
  put_if(json, "attainment", s.attainment);
  if (!s.slo.empty()) json["slo"] = slo_json(s);
  json["percentile_method"] = name(s.percentile_method);
  json["metrics"] = samples_json(s);
  json["ttft_parts_ms"] = {{"front_end", s.front_end_ms}, {"queue", s.queue_ms}, {"prefill", s.prefill_ms}};
  json["load"] = load_json(s);
  json["kv_memory"] = memory_json(s.kv_memory);
  json["gpu_time"] = gpu_json(s);
  json["prefix_cache"] = prefix_json(s);
  json["stability"] = stability_json(s.stability);
  if (const auto fairness = to_json(s.fairness); !fairness.empty()) json["fairness"] = fairness;
  if (s.confidence) {
    json["confidence"] = confidence_json(*s.confidence);
    json["intervals"] = intervals_json(s);
  }
  put_if(json, "usd_per_million_output_tokens", s.usd_per_million_output_tokens);
  json["warnings"] = s.warnings;
  return json;
}

}  // namespace

double MetricStats::at(double percent) const {
  if (percent == 50.0) return median;
  for (const auto& [p, value] : percentiles) {
    if (std::abs(p - percent) < 1e-9) return value;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double Summary::prefix_hit_rate() const {
  return total_input_tokens > 0 ? static_cast<double>(cached_tokens) / static_cast<double>(total_input_tokens)
                                : 0.0;
}

bool Summary::slo_met() const {
  for (const auto& r : slo) {
    if (!r.pass) return false;
  }
  return true;
}

void add_cost(Summary& s) {
  if (!s.info.usd_per_gpu_hour || s.output_throughput <= 0) return;
  const double gpus = static_cast<double>(s.info.all_gpus());
  const double usd_per_s = *s.info.usd_per_gpu_hour * gpus / 3600;
  s.usd_per_million_output_tokens = usd_per_s / s.output_throughput * 1e6;
}

OrderedJson to_json(const Summary& s) {
  OrderedJson json;
  put_run(json, s.info);
  json["duration"] = s.duration_s;
  json["completed"] = s.completed;
  json["failed"] = s.failed;
  json["total_input_tokens"] = s.total_input_tokens;
  json["total_output_tokens"] = s.total_output_tokens;
  json["request_throughput"] = s.request_throughput;
  json["request_goodput"] = s.request_goodput ? OrderedJson(*s.request_goodput) : OrderedJson();
  json["output_throughput"] = s.output_throughput;
  json["total_token_throughput"] = s.total_token_throughput;
  json["max_output_tokens_per_s"] = s.max_output_tokens_per_s;
  json["max_concurrent_requests"] = s.max_concurrent_requests;
  put_metrics(json, s);
  json["orrery"] = ours(s);
  return json;
}

}  // namespace orrery
