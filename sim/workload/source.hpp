#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "workload/request.hpp"

namespace orrery {

/// What to do with a row of a trace that cannot be read.
enum class OnBadRow : std::uint8_t {
  fail,  ///< ConfigError with file, line, column and value
  skip,  ///< leave it out; notes() says how many and shows the first
};

/// What to do with requests that share one timestamp because the trace's clock was coarse (Mooncake: 3 s
/// ticks).
enum class SpreadTies : std::uint8_t {
  none,     ///< replay as written: they arrive in the same instant
  uniform,  ///< evenly over the tick
  poisson,  ///< at sorted random times in the tick, which is a Poisson process given its count
};

/// What `random_range_ratio` r means for a length N.
enum class RangeMeaning : std::uint8_t {
  below,   ///< uniform in [r N, N]; 1 = always N. vLLM's and SGLang's older benchmark scripts, InferenceX.
  around,  ///< uniform in [N (1 - r), N (1 + r)]; 0 = always N. vLLM's `bench serve` since 0.9.
};

OnBadRow parse_on_bad_row(const std::string& text);  ///< "fail" | "skip". Errors: ConfigError.
SpreadTies parse_spread_ties(
    const std::string& text);  ///< "none" | "uniform" | "poisson". Errors: ConfigError.
RangeMeaning parse_range_meaning(const std::string& text);  ///< "below" | "around". Errors: ConfigError.

/// How to read a trace file.
struct TraceOptions {
  std::string format = "auto";  ///< a name of Registry<TraceFormats>, or "auto" to look at the first lines
  OnBadRow on_bad_row = OnBadRow::fail;
  SpreadTies spread_ties = SpreadTies::none;
  bool sort =
      false;  ///< read the whole trace and sort it by time; otherwise a step back in time is a bad row
  bool use_timestamps = true;             ///< false: lengths from the trace, arrivals from the generator
  std::int32_t default_output_len = 256;  ///< where a format may leave it out (vLLM: --custom-output-len)
  std::int32_t hash_block_tokens = 512;   ///< mooncake: tokens one of its hash_ids stands for
  double chars_per_token = 4;             ///< where a format has text only and no tokenizer is at hand
};

/// How long prompts or answers are. `distribution` is a name of Registry<LengthDistributions>.
struct LengthSpec {
  std::string distribution;  ///< "" = the vLLM-style fields of WorkloadSpec
  double mean = 0;           ///< fixed: the length; uniform: N of the range
  double ratio = 1;          ///< uniform: see `range`
  RangeMeaning range = RangeMeaning::below;
  double median = 0, sigma = 0;  ///< lognormal: exp(mu), and the deviation of the logarithm
  std::int32_t min = 1;
  std::int32_t max = 1'000'000'000;
  std::string trace;  ///< empirical: rows are drawn from it; two lengths of one trace come from the same row
  std::vector<std::pair<double, double>>
      quantiles;  ///< quantiles: (p, value) ascending, log-linear in between
};

/// `duration_s` seconds at `rate` requests/s, one after the other.
struct RateStage {
  double duration_s = 0;
  double rate = 0;
};

/// When requests come. `process` is a name of Registry<ArrivalProcesses>.
struct ArrivalSpec {
  std::string process = "poisson";
  double burstiness =
      1;          ///< shape of gamma and Weibull gaps; 1 = Poisson, below 1 = burstier (vLLM's meaning)
  double cv = 0;  ///< gamma: coefficient of variation of the gaps instead of a shape; 0 = use burstiness
  double on_s = 10, off_s = 30;   ///< on_off: mean length of a burst and of the silence after it
  double period_s = 86400;        ///< diurnal
  double amplitude = 0.5;         ///< diurnal: rate(t) = rate * (1 + amplitude * sin(2 pi t / period)), 0..1
  std::vector<RateStage> stages;  ///< instead of one rate
};

/// Prompts made of a system prompt per group and a question per user, both fixed, so that the prompt of one
/// (group, user) repeats word for word (inference-perf's `shared_prefix` generator). Requests take the pairs
/// in turn.
struct SharedPrefixSpec {
  int groups = 0;  ///< 0 = no shared prefixes
  int users = 1;   ///< per group
  std::int32_t system_tokens = 0;
  std::int32_t question_tokens = 0;
  std::int32_t block_tokens = 16;  ///< granularity of the prefix keys: the engine's block size
};

/// Requests that go on from each other's answers. A session begins with a system prompt, which all share, and
/// a prompt of its own, sent as often as there are branches; each answer, followed by more input, is the
/// prompt of as many requests again, the client's delay and think time later. One branch: a conversation, or
/// an agent that waits for its tools; b branches and one turn: b samples of an answer (self-consistency);
/// more turns: a tree of thoughts.
struct SessionSpec {
  std::int32_t turns = 0;  ///< 0 = no sessions
  std::int32_t branches = 1;
  std::int32_t system_tokens = 0;
  std::int32_t follow_up = -1;    ///< tokens put to an answer before the next turn; -1 = as a first prompt's
  std::int32_t block_tokens = 0;  ///< granularity of the prefix keys; 0 = the engine's block size, or 16
  std::int64_t requests() const;  ///< of one session
};

struct RequestList;

/// Where requests come from, and how they are changed on the way. Every field has a default; the names are
/// the field's.
struct WorkloadSpec {
  /// A file (.csv, .json, .jsonl; .gz and .zst too), "builtin:conversation|code|summarisation", or "" =
  /// synthetic.
  std::string trace;
  TraceOptions read;
  std::shared_ptr<const RequestList> list;  ///< requests in memory, instead of a trace or a generator

  // For every source.
  double rate_scale = 1;  ///< 2 = twice as fast
  double target_rps =
      0;  ///< rescale to this mean rate; 0 = leave. A trace is read once more to learn its own rate.
  double duration_s = 0;  ///< keep arrivals before this (scaled) time; 0 = all
  std::int64_t num_prompts =
      0;  ///< keep this many; 0 = all of a trace, 1000 of a generator (or what the stages give)
  std::int64_t loop = 1;  ///< replay a trace this many times end to end; prefixes of different passes differ

  // Synthetic, in vLLM's names.
  std::int32_t random_input_len = 1024;
  std::int32_t random_output_len = 128;
  double random_range_ratio = 1;
  RangeMeaning range_meaning = RangeMeaning::below;
  double request_rate = std::numeric_limits<double>::infinity();  ///< requests/s; infinity = all at t = 0
  double burstiness = 1;                                          ///< other than 1: gamma gaps of this shape
  ArrivalSpec arrivals;
  LengthSpec input, output;  ///< `distribution` set: instead of random_*
  SharedPrefixSpec prefix;
  SessionSpec sessions;

  // Images in front of every prompt, for models with an encoder; without them a trace's own are kept.
  /// Clients share no cached prefix (vLLM: a cache_salt for each); those without a number are one.
  bool isolate_clients = false;
  std::int32_t images_per_request = 0;
  std::int32_t image_width = 1024, image_height = 1024;  ///< pixels, of every image of a run
  std::int32_t image_tokens = 0;  ///< that one becomes; they come on top of the text. Known by the model.

  // Closed loop: at most this many requests in the system, on top of any source; 0 = open loop.
  std::int64_t max_concurrency = 0;
  double client_delay_s = 0;  ///< between an answer's last token and the client's next request
  double think_time_s = 0;    ///< mean of what a user waits on top
  double think_time_cv = 0;   ///< 0 = constant, 1 = exponential, else gamma
};

/// Opens the source a spec describes. Random draws depend on (spec, seed) alone.
/// Errors: ConfigError naming the field or the place in the file.
RequestSourcePtr make_source(const WorkloadSpec& spec, std::uint64_t seed);

/// The built-in workloads' names, without "builtin:".
std::vector<std::string> builtin_workloads();

}  // namespace orrery
