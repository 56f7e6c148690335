#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cost/step_pricer.hpp"

namespace orrery {

/// A step that the live engine ran: a row of its steps.csv (tools/live/steps_csv.hpp).
struct MeasuredStep {
  double duration_s = 0;  ///< by the host's clock
  double device_s = 0;    ///< by the device's events; 0 = not measured
  double gap_s = 0;       ///< the device's idle time before it
  double host_s = 0;      ///< the host's time to plan and launch it
  std::int64_t decode_seqs = 0;
  Tokens context = 0;  ///< KV tokens the decode set reads, own tokens included, summed
  std::vector<PrefillChunk> chunks;

  Tokens prefill_tokens() const;
};

/// Errors: ConfigError with file and line.
std::vector<MeasuredStep> read_live_steps(const std::string& path);

/// What the pricer asks for it, in seconds. Windows are applied to the mean context: steps.csv has the sum.
double predicted_s(StepPricer& pricer, const MeasuredStep& step);

/// Steps of alike make-up, over all runs.
struct StepGroup {
  enum class By : std::uint8_t { all, decode, mixed };
  By by = By::all;
  std::string name;  ///< "5 to 16 sequences, contexts 256 to 1,023", "prefill of 257 to 1,024 tokens"
  std::int64_t steps = 0;
  double share = 0;  ///< of the time of all steps
  double measured_mean_ms = 0, predicted_mean_ms = 0;
  double median = 0, median_abs = 0, p90_abs = 0;  ///< of predicted / measured - 1; percentiles of type 7
  double spread = 0;  ///< half the range of the runs' mean durations, by their mean; 0 for one run
  double error_of_mean() const { return predicted_mean_ms / measured_mean_ms - 1; }
};

/// All steps; decode-only ones by number of sequences and mean context; steps with prefill by its tokens.
/// Bands are factors of four; groups without a step are left out. One list of steps per run.
std::vector<StepGroup> group_steps(const std::vector<std::vector<MeasuredStep>>& runs, StepPricer& pricer);

}  // namespace orrery
