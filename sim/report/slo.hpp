#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

/// Latencies a user feels, under vLLM's names (definitions: Metrics).
enum class Metric : std::uint8_t { ttft, tpot, itl, e2el };
inline constexpr int kMetricCount = 4;
constexpr std::string_view name(Metric m) {
  constexpr std::string_view names[] = {"ttft", "tpot", "itl", "e2el"};
  return names[static_cast<int>(m)];
}
/// For people: TTFT, TPOT, ITL, E2E.
constexpr std::string_view label(Metric m) {
  constexpr std::string_view labels[] = {"TTFT", "TPOT", "ITL", "E2E"};
  return labels[static_cast<int>(m)];
}

/// One promise. A latency term holds over the run in its statistic (`over`) and, as a threshold, per request.
struct SloTerm {
  enum class Target : std::uint8_t { latency, attainment, goodput };
  enum class Over : std::uint8_t {
    percentile,  ///< the run's `percentile` must not exceed the limit
    mean,        ///< the run's mean must not exceed it
    requests     ///< only counted per request (vLLM's --goodput form): no verdict of its own
  };
  Target target = Target::latency;
  Metric metric = Metric::ttft;
  Over over = Over::percentile;
  double percentile = 99;  ///< in percent
  double limit = 0;        ///< ms (latency), fraction (attainment), requests/s (goodput)
  std::string text;        ///< normalised: "ttft<=500ms@p99"
};

/// What a deployment promises; empty = nothing.
struct Slo {
  std::vector<SloTerm> terms;

  bool empty() const { return terms.empty(); }
  /// Per request: the limit of `metric` in ms (the loosest when several terms name it). ITL has none.
  std::optional<double> threshold_ms(Metric metric) const;
  bool has_thresholds() const;
  /// Percentiles some term asks for, in percent.
  std::vector<double> percentiles() const;
};

/// Reads an SLO. Terms are separated by commas or blanks:
///
///   ttft<=500ms@p99     over the run; units us, ms, s (none = ms); @p50..@p99.99, @median, @mean (none =
///   p99) ttft:500            vLLM's --goodput form: per request only attainment>=0.95    share of requests
///   that meet all latency thresholds (also 95%) goodput>=10         such requests per second
///   mlperf:llama3.1-8b-interactive    MLPerf Inference's p99 limits (slo_presets() names them)
///
/// Aliases of other benchmarks are accepted: time_to_first_token, inter_token_latency (aiperf's TPOT),
/// inter_chunk_latency (pooled gaps: ITL), e2e, request_latency. Errors: ConfigError (usage).
Slo parse_slo(std::string_view text);
/// The same over several strings, as a scenario file's list has them.
Slo parse_slo(const std::vector<std::string>& texts);

/// Names accepted as presets: "mlperf:llama2-70b", ...
std::vector<std::string> slo_presets();

/// How one term came out.
struct SloResult {
  SloTerm term;
  double value = 0;  ///< in the unit of the limit; NaN when nothing was measured
  bool pass = false;
};

}  // namespace orrery
