#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/summary.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// A number of a run: "ttft@p99", "tpot@mean".
struct MetricQuestion {
  Metric metric = Metric::ttft;
  bool mean = false;
  double percentile = 99;
  std::string text;  ///< normalised
};
/// Errors: ConfigError (usage).
MetricQuestion parse_metric_question(const std::string& text);

/// Where the requests around a percentile, or all of them, spent their time; means in ms. The parts sum to
/// the metric's time: to the first token, between tokens in all, or to the last one.
struct TimeParts {
  double front_end = 0;          ///< on the way in and out
  double slot_wait = 0;          ///< waiting while max_num_seqs sequences ran
  double memory_wait = 0;        ///< waiting while fewer KV blocks were free than its prompt takes
  double turn_wait = 0;          ///< waiting otherwise: for the step in flight, and for prompts before it
  double prefill = 0;            ///< in steps with its own prompt, its share of them by tokens
  double prefill_shared = 0;     ///< the rest of those steps: other prompts, and who decoded beside
  double prefill_paused = 0;     ///< between its chunks, and after a preemption
  double decode = 0;             ///< in steps that only decode
  double decode_interfered = 0;  ///< in steps with others' prompts
  double decode_paused = 0;      ///< between its first and last token, in no step at all
};

/// A single change and what simulating it says.
struct WhatIf {
  std::string change;  ///< "max_num_seqs 256 -> 512"
  Assignment assignment;
  double value = 0;  ///< of the metric asked for, ms
  double ttft_p99 = 0, tpot_p99 = 0, output_throughput = 0;
  std::string refused;  ///< why it cannot be done; "" = it was
};

struct RunExplanation {
  MetricQuestion question;
  double value = 0;                     ///< ms
  std::int64_t requests = 0, band = 0;  ///< in all, and explained
  TimeParts parts;
  Summary summary;
  std::vector<WhatIf> what_ifs;  ///< best first
};

/// Simulates the scenario again, following the requests that make the metric what it is, and then once for
/// each of some single changes. Errors: ConfigError, as of a run.
RunExplanation explain_run(const Scenario& scenario, const MetricQuestion& question);
OrderedJson to_json(const RunExplanation& explanation);

}  // namespace orrery
