#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/slo.hpp"

namespace orrery {

/// One request as its client, or the engine's log, saw it. What was not recorded is unset.
struct MeasuredRequest {
  double arrival_s = 0;  ///< since the first request of the run
  std::int32_t prompt_tokens = 0, output_tokens = 0;
  std::optional<double> ttft_ms, e2e_ms;
  std::optional<double> tpot_ms;  ///< unset for one-token answers

  /// The latency of this name; ITL is not a request's.
  std::optional<double> latency_ms(Metric m) const;
};

/// A metric over a run, in ms; percentiles of type 7, as everywhere.
struct MeasuredStats {
  std::optional<double> mean, median, p99;
};

/// How the requests of a run were sent, as far as it says.
struct MeasuredLoad {
  bool arrivals_recorded = false;       ///< each request's arrival_s is known
  std::optional<double> request_rate;   ///< requests/s; infinity = all at once
  std::optional<double> burstiness;     ///< shape of the gamma gaps
  std::optional<std::int64_t> clients;  ///< a closed loop of this many
  std::int64_t prompts = 0;
  double mean_prompt_tokens = 0, mean_output_tokens = 0;
};

/// A saved run of a real server (or of Orrery): what was asked of it and how long it took.
struct MeasuredRun {
  std::string path;
  std::string kind;   ///< "a result of vllm bench serve", ...
  std::string model;  ///< as the file names it; "" = it does not
  /// Completed ones in the order in which they were sent; empty when the file has aggregates only.
  std::vector<MeasuredRequest> requests;
  MeasuredLoad load;
  std::int64_t completed = 0, failed = 0;
  double duration_s = 0;  ///< from the first request sent to the last answer
  std::optional<double> request_throughput, output_throughput;  ///< per second
  std::array<MeasuredStats, kMetricCount> latency;              ///< by Metric
  std::vector<std::string> notes;  ///< what a reader of the comparison should know
};

/// Reads a saved run; what it is shows in its first line.
///
/// JSON: a result of `vllm bench serve --save-result` (vllm/benchmarks/serve.py; the older
/// benchmark_serving.py writes the same keys), with --save-detailed per request: input_lens, output_lens,
/// ttfts (s), itls (s, a list per request), start_times (s, newer versions), errors. Unknown keys are
/// ignored.
///
/// CSV: one line per request. Columns by name: arrival_s, input_tokens (or prompt_tokens), output_tokens, and
/// of the latencies ttft_ms, tpot_ms, latency_ms (or e2e_ms, e2el_ms, or done_s on the clock of arrival_s) at
/// least one; id breaks ties of arrival_s, `failure` marks requests to leave out. Orrery's own requests.csv
/// is such a file. Lines starting with '#' above the header are shown as a note.
///
/// Errors: ConfigError with file and line for a file that is neither, or holds no completed request.
MeasuredRun read_measured_run(const std::string& path);

// Readers of the two kinds, in measured_run_bench.cpp and measured_run_log.cpp; both end in summarise().
MeasuredRun read_bench_result(const std::string& path);
MeasuredRun read_request_log(const std::string& path);

/// Fills what the requests say about the whole run where the file itself did not: latencies, throughput, mean
/// lengths. `gaps_ms` are those between tokens, pooled; empty = not recorded.
void summarise(MeasuredRun& run, const std::vector<double>& gaps_ms);

}  // namespace orrery
