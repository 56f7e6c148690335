#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/quantile.hpp"
#include "report/fairness.hpp"
#include "report/slo.hpp"

namespace orrery {

using OrderedJson = nlohmann::ordered_json;

/// A range the true value is expected in, in the unit of the value.
struct Interval {
  double low = 0, high = 0;
};

/// One metric over the run, in ms. NaN where there are no samples.
struct MetricStats {
  std::int64_t samples = 0;
  double mean = 0, median = 0, std = 0, min = 0, max = 0;  ///< std of the population, as vLLM (ddof 0)
  std::vector<std::pair<double, double>> percentiles;      ///< (percent, ms), ascending
  bool exact = true;  ///< false: percentiles from a log histogram, within 0.1%
  std::optional<Interval> mean_interval, p99_interval;  ///< of prediction error, see Confidence

  /// The value at `percent`; NaN when it was not asked for.
  double at(double percent) const;
};

/// A quantity over time, weighted by time.
struct TimeWeighted {
  double mean = 0, p99 = 0, peak = 0;
};

/// What the KV blocks of a replica were put to: fractions of the pool, on the mean over time. Allocated
/// blocks are those that sequences hold and those set aside for them; tokens, empty slots and blocks not used
/// yet add up to them.
struct KvMemory {
  double allocated = 0, peak = 0;
  double stored = 0;              ///< holds tokens
  double unfilled = 0;            ///< slots of used blocks without a token
  double set_aside = 0;           ///< reserved at admission, not used yet
  double free_while_waiting = 0;  ///< not allocated while requests wait: external waste

  /// Share of what is allocated that holds no token.
  double internal_waste() const { return allocated > 0 ? (unfilled + set_aside) / allocated : 0; }
};

/// Requests that go on from an answer of their session.
struct LaterTurns {
  std::int64_t requests = 0, input_tokens = 0, cached_tokens = 0;
  double hit_rate() const {
    return input_tokens > 0 ? static_cast<double>(cached_tokens) / static_cast<double>(input_tokens) : 0;
  }
};

/// Where one replica's GPU time went; the parts sum to the run's end. Seconds.
struct GpuTime {
  double decode_s = 0;   ///< decode-only steps
  double prefill_s = 0;  ///< steps that hold prefill
  double idle_s = 0;
};

/// Whether the offered load is served, judged over the time in which requests arrive.
struct Stability {
  bool judged = false;    ///< enough arrivals over enough time to say
  bool unstable = false;  ///< the waiting queue grew all along
  double arrival_rps_per_replica = 0, served_rps_per_replica = 0;
  double queue_growth_rps = 0;  ///< slope of the waiting queue, whole cluster, requests per second
  double arrivals_s = 0;        ///< length of the time judged
};

/// How sure the prediction is: shares of step time by kernel class and provenance, and the relative error
/// expected of step times.
struct Confidence {
  std::map<std::string, double> by_class;       ///< share of accounted time, sums to 1 with "host"
  std::map<std::string, double> by_provenance;  ///< "measured", ...: share of device time, sums to 1
  double step_time_error = 0;                   ///< relative half-width of a step's time at `level`
  double level = 0.9;
  std::string method = "first order";  ///< of the intervals; or "resimulated N times"
  std::vector<std::string> sources;    ///< where the kernel times come from
};

/// What was run, as far as a reader of the numbers needs it. Filled by the caller; empty = left out.
struct RunInfo {
  std::string date;      ///< vLLM's %Y%m%d-%H%M%S; left empty, outputs are reproducible byte for byte
  std::string backend;   ///< "vllm"
  std::string engine;    ///< "vllm@0.15.1"
  std::string label;     ///< free text of the user
  std::string model_id;  ///< "meta-llama/Llama-3.1-8B-Instruct"
  std::string gpu;       ///< "h200-sxm"
  std::string workload;  ///< "azure-conv-2023"
  int gpus_per_replica = 1;
  int replicas = 1;
  int gpus = 0;  ///< in all, where replicas differ; 0 = gpus_per_replica of each
  int all_gpus() const { return gpus > 0 ? gpus : gpus_per_replica * replicas; }
  std::string parallelism = "tp1";
  std::optional<std::int64_t> num_prompts;
  std::optional<double> request_rate;  ///< infinity is written "inf", as vLLM does
  std::optional<double> burstiness;
  std::optional<std::int64_t> max_concurrency;
  std::int64_t max_num_seqs = 0;        ///< per replica; 0 = unknown
  std::int64_t kv_capacity_tokens = 0;  ///< per replica; 0 = unknown
  /// Sequences of `max_model_len` tokens that fit at once, where tokens alone do not say it: in models whose
  /// layers keep only some of a sequence, or states.
  std::optional<double> kv_max_concurrency;
  std::int64_t max_model_len = 0;
  std::optional<double> usd_per_gpu_hour;
};

/// All that a run says in numbers: plain data, made by Metrics, completed by the caller, written by to_json
/// and render_verdict_and_table.
struct Summary {
  RunInfo info;

  // Under vLLM's names. Counted requests are those not excluded as warm-up.
  double duration_s = 0;  ///< from the start of the run (or the end of the warm-up) to the last completion
  double drain_s = 0;     ///< the part of it after the last arrival
  std::int64_t completed = 0, failed = 0;
  std::int64_t total_input_tokens = 0, total_output_tokens = 0;
  double request_throughput = 0;
  std::optional<double> request_goodput;  ///< requests/s that meet every threshold; unset without thresholds
  double output_throughput = 0, total_token_throughput = 0;
  double max_output_tokens_per_s = 0;        ///< most tokens in one second (buckets from the first arrival)
  std::int64_t max_concurrent_requests = 0;  ///< most requests active in one such second
  std::array<MetricStats, kMetricCount> metrics{};
  const MetricStats& operator[](Metric m) const { return metrics[static_cast<std::size_t>(m)]; }
  MetricStats& operator[](Metric m) { return metrics[static_cast<std::size_t>(m)]; }

  // Ours.
  PercentileMethod percentile_method = PercentileMethod::linear;
  std::optional<double>
      attainment;  ///< share of counted requests that meet every threshold; failed ones do not
  std::vector<SloResult> slo;
  std::int64_t excluded = 0;                     ///< warm-up requests left out
  std::int64_t unfinished = 0;                   ///< arrived, never completed (cut-off or interruption)
  double simulated_s = 0;                        ///< end of the run
  bool interrupted = false;                      ///< set by the caller: the user stopped the run
  double arrival_rps = 0;                        ///< counted arrivals over the time they came in
  std::map<std::string, std::int64_t> failures;  ///< reason -> requests

  TimeWeighted running, waiting, kv_used;  ///< per replica, kv as a fraction of its blocks
  KvMemory kv_memory;                      ///< likewise
  std::int64_t preemptions = 0;
  std::vector<GpuTime> gpu;         ///< per replica
  std::int64_t cached_tokens = 0;   ///< prompt tokens of counted requests found in the prefix cache
  std::int64_t hit_requests = 0;    ///< requests that found any there
  LaterTurns later_turns;           ///< of counted requests
  std::int64_t evicted_blocks = 0;  ///< cached KV blocks taken for something else; set by the caller
  double front_end_ms = 0, queue_ms = 0, prefill_ms = 0;  ///< mean TTFT's parts; they sum to it
  Stability stability;
  Fairness fairness;
  std::optional<Confidence> confidence;
  std::optional<Interval> request_throughput_interval, output_throughput_interval;
  std::optional<double> usd_per_million_output_tokens;
  std::vector<std::string> warnings;

  double prefix_hit_rate() const;  ///< cached_tokens over total_input_tokens
  double request_hit_rate() const {
    return completed > 0 ? static_cast<double>(hit_requests) / static_cast<double>(completed) : 0;
  }
  /// Every term of the SLO that gives a verdict holds. True when there is none.
  bool slo_met() const;
};

/// $ per million output tokens from info.usd_per_gpu_hour, when that is set.
void add_cost(Summary& summary);

/// vLLM's `bench serve` result keys at the top level, ours under "orrery" (docs/schema/summary.schema.json).
OrderedJson to_json(const Summary& summary);

}  // namespace orrery
