#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/summary.hpp"
#include "scenario/measured_run.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// One number of the run, measured and predicted. Keys are vLLM's: "output_throughput", "p99_ttft_ms".
struct ReplayRow {
  std::string key;
  double measured = 0, predicted = 0;
  std::optional<Interval> interval;  ///< of the prediction, at ReplayReport::level

  double error() const { return predicted / measured - 1; }  ///< relative; measured is positive
  std::optional<bool> inside() const;                        ///< measured lies in the interval
};

/// Errors of one latency over requests paired with themselves: predicted / measured - 1.
struct PairedErrors {
  std::int64_t pairs = 0;
  double measured_mean = 0, predicted_mean = 0;    ///< ms
  double median = 0, median_abs = 0, p90_abs = 0;  ///< of the requests' errors; percentiles of type 7
  double error_of_mean() const { return predicted_mean / measured_mean - 1; }
};

/// What is compared request by request.
inline constexpr std::array<Metric, 3> kPairedMetrics = {Metric::ttft, Metric::tpot, Metric::e2el};

/// A part of the run's requests.
struct ReplaySlice {
  enum class By : std::uint8_t { all, quarter, prompt };
  By by = By::all;
  std::string name;           ///< "all requests", "1st quarter", "prompt 512 to 2,047"
  std::int64_t requests = 0;  ///< measured ones in it
  std::array<PairedErrors, kPairedMetrics.size()> errors;  ///< by kPairedMetrics
};

/// How far a prediction may be off: `orrery validate replay --max-error`.
struct ErrorLimit {
  std::string key;   ///< of a ReplayRow
  double limit = 0;  ///< relative
  std::string text;  ///< as it was asked for
};

/// "tpot=5%,ttft@p99=20%,throughput=3%": METRIC[@mean|median|p99]=ERROR, the mean when nothing is named.
/// Metrics: ttft, tpot, itl, e2e; throughput (output tokens), request_throughput. Errors: ConfigError
/// (usage).
std::vector<ErrorLimit> parse_error_limits(std::string_view text);

struct ReplayOptions {
  Assignments scenario;  ///< what to simulate; what the file says about the model and the load is below it
  std::vector<ErrorLimit> limits;
  int resimulations = 0;  ///< perturbed runs behind the intervals; 0 = first order
};

struct ReplayReport {
  MeasuredRun measured;
  Summary predicted;
  std::string arrivals;  ///< how requests were sent in the replay, for people
  double level = 0.9;    ///< of the intervals
  std::vector<ReplayRow> rows;
  std::vector<ReplaySlice> slices;  ///< empty when the file has aggregates only
  struct Verdict {
    ErrorLimit limit;
    double error = 0;
    bool met = false;
  };
  std::vector<Verdict> verdicts;
  std::vector<std::string> notes, warnings;

  bool met() const;  ///< every limit is
};

/// Reads a saved run (read_measured_run), rebuilds what was asked of the server, simulates that under the
/// scenario and compares. Recorded arrival times are replayed as they were; a closed loop is replayed as one,
/// and arrivals that were not recorded are drawn from the file's rate. A file without the requests' lengths
/// is replayed with its mean lengths, unless the scenario sets others. A folder is a run directory of Orrery:
/// its requests.csv, and below the scenario the servers of its manifest.json.
/// Errors: ConfigError (a file that cannot be read, a scenario that cannot run, a flag that would be ignored,
/// a limit on what was not measured).
ReplayReport validate_replay(const std::string& path, const ReplayOptions& options);

/// The numbers that a measured run and a prediction both have.
std::vector<ReplayRow> replay_rows(const MeasuredRun& run, const Summary& predicted);

/// docs/validation.md says what is in it.
OrderedJson to_json(const ReplayReport& report);
OrderedJson to_json(const ReplaySlice& slice);

}  // namespace orrery
