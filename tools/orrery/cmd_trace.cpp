#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "base/json.hpp"
#include "command.hpp"
#include "options.hpp"
#include "scenario_options.hpp"
#include "workload/trace_stats.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// The options of `orrery run` that describe a workload, all but those of the closed loop: a client that
/// waits for answers has no arrival times to show.
class WorkloadOptions {
 public:
  explicit WorkloadOptions(Options& options) : scenario_(options, {"workload", "synthetic"}) {
    options.group("seed", "Random numbers").value("seed", seed_, "N", "of every random draw (default 0)");
  }
  /// `trace` is the positional word, "" = none. Call after parsing.
  RequestSourcePtr open(const std::string& trace) const {
    WorkloadSpec spec = scenario_.resolve().workload;
    if (!trace.empty()) spec.trace = trace;
    return make_source(spec, seed_);
  }

 private:
  ScenarioOptions scenario_;
  std::uint64_t seed_ = 0;
};

void print_notes(const RequestSource& source, const Options& options) {
  if (options.output().quiet) return;
  for (const auto& note : source.notes()) fmt::print(stderr, "note: {}\n", note);
}

/// 12,031
std::string thousands(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3) {
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return digits;
}

std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.4g} s", seconds);
  if (seconds < 7200) return fmt::format("{:.1f} min", seconds / 60);
  return seconds < 172800 ? fmt::format("{:.1f} h", seconds / 3600)
                          : fmt::format("{:.1f} days", seconds / 86400);
}

Json lengths_json(const LengthCounts& c) {
  if (c.count() == 0) return nullptr;
  return {{"total", c.sum()},       {"mean", c.mean()},       {"min", c.quantile(0)},
          {"p50", c.quantile(0.5)}, {"p90", c.quantile(0.9)}, {"p99", c.quantile(0.99)},
          {"max", c.quantile(1)}};
}

Json stats_json(const TraceStats& s, const RequestSource& source) {
  return {{"requests", s.requests()},
          {"duration_s", s.duration_s},
          {"request_rate", s.rate},
          {"interarrival_cv", s.interarrival_cv},
          {"input_tokens", lengths_json(s.input)},
          {"output_tokens", lengths_json(s.output)},
          {"clients", s.clients},
          {"repeated_rows", s.repeated_rows},
          {"distinct_times", s.distinct_times},
          {"tick_s", s.tick_s > 0 ? Json(s.tick_s) : Json()},
          {"prefix",
           {{"requests", s.with_prefix},
            {"reused_tokens", s.reused_tokens},
            {"reused_fraction", s.reused_fraction()}}},
          {"notes", source.notes()}};
}

void print_lengths(const char* what, const LengthCounts& c) {
  fmt::print(" {:<14}{:>10}{:>9}{:>9}{:>9}{:>10}\n", what, thousands(c.mean()), thousands(c.quantile(0.5)),
             thousands(c.quantile(0.9)), thousands(c.quantile(0.99)), thousands(c.quantile(1)));
}

void print_stats(const TraceStats& s) {
  fmt::print(" {} requests", thousands(double(s.requests())));
  if (s.duration_s > 0) {
    fmt::print(" · {} · {:.2f} req/s · inter-arrival CV {:.2f}", duration(s.duration_s), s.rate,
               s.interarrival_cv);
  } else {
    fmt::print(" · all at once");
  }
  if (s.clients > 0) fmt::print(" · {} clients", thousands(double(s.clients)));
  fmt::print("\n {:<14}{:>10}{:>9}{:>9}{:>9}{:>10}\n", "tokens", "mean", "p50", "p90", "p99", "max");
  print_lengths("input", s.input);
  print_lengths("output", s.output);
  if (s.with_prefix > 0) {
    fmt::print(
        " prefix reuse with an infinite cache: {:.1f} % of input tokens ({} requests have prefix keys)\n",
        100 * s.reused_fraction(), thousands(double(s.with_prefix)));
  }
  if (s.repeated_rows > 0) {
    fmt::print(" {} rows repeat the one before them in time and lengths\n",
               thousands(double(s.repeated_rows)));
  }
}

int stats(const std::vector<std::string>& args) {
  std::string trace;
  Options options("trace stats", "Count, rate, lengths and prefix reuse of a trace or workload.");
  options.positional("FILE", trace, "a trace, or builtin:conversation|code|summarisation", false)
      .example("orrery trace stats traces/samples/mooncake.jsonl")
      .example("orrery trace stats builtin:code --json");
  const WorkloadOptions workload(options);
  if (!options.parse(args)) return 0;
  const auto source = workload.open(trace);
  const TraceStats s = trace_stats(*source);
  if (options.output().json) {
    fmt::print("{}\n", stats_json(s, *source).dump(2));
    return 0;
  }
  print_stats(s);
  print_notes(*source, options);
  return 0;
}

int head(const std::vector<std::string>& args) {
  std::string trace;
  std::int64_t lines = 10;
  Options options("trace head", "The first requests, as the simulator sees them.");
  options.positional("FILE", trace, "a trace, or builtin:conversation|code|summarisation", false)
      .value("lines,n", lines, "N", "how many (default 10)");
  const WorkloadOptions workload(options);
  if (!options.parse(args)) return 0;
  const auto source = workload.open(trace);
  Json all = Json::array();
  if (!options.output().json) {
    fmt::print("{:>8}{:>16}{:>10}{:>10}{:>10}{:>8}\n", "id", "arrival s", "input", "output", "prefixes",
               "client");
  }
  Request r;
  for (std::int64_t i = 0; i < lines && source->next(r); ++i) {
    const std::size_t blocks = r.prefix ? r.prefix->ids.size() : 0;
    const double arrival = to_seconds(r.arrival).value;
    if (options.output().json) {
      all.push_back({{"id", r.id},
                     {"arrival_s", arrival},
                     {"input_tokens", r.prompt_tokens},
                     {"output_tokens", r.output_tokens},
                     {"prefix_blocks", blocks}});
    } else {
      fmt::print("{:>8}{:>16.6f}{:>10}{:>10}{:>10}{:>8}\n", r.id, arrival, r.prompt_tokens, r.output_tokens,
                 r.prefix ? std::to_string(blocks) : "-", r.client >= 0 ? std::to_string(r.client) : "-");
    }
  }
  if (options.output().json) fmt::print("{}\n", all.dump(2));
  print_notes(*source, options);
  return 0;
}

/// A file, or standard output for "-".
class Output {
 public:
  explicit Output(const std::string& path)
      : path_(path), file_(path == "-" ? stdout : std::fopen(path.c_str(), "wb")) {
    if (!file_) fail();
  }
  ~Output() {
    if (file_ && file_ != stdout) std::fclose(file_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail();
  }
  void close() {
    if (file_ == stdout) return;
    std::FILE* file = file_;
    file_ = nullptr;
    if (std::fclose(file) != 0) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw ConfigError("cannot write '" + path_ + "': " + std::strerror(errno)).at(path_);
  }

  std::string path_;
  std::FILE* file_;
};

/// Writes a workload as a trace; convert and synth differ in where it comes from only.
int write(const std::vector<std::string>& args, const char* verb, const char* summary, bool from_file) {
  std::string trace;
  std::string format = "azure", path = "-";
  Options options(verb, summary);
  options
      .positional(from_file ? "FILE" : "NAME", trace,
                  from_file ? "the trace to read"
                            : "builtin:conversation|code|summarisation (default: from the options)",
                  from_file)
      .value("to", format, fmt::format("{}", fmt::join(Registry<TraceWriters>::names(), "|")),
             "format to write (default azure)")
      .value("file,o", path, "FILE", "where to (default: standard output)");
  const WorkloadOptions workload(options);
  if (!options.parse(args)) return 0;
  const auto& writer = Registry<TraceWriters>::find(format);
  const auto source = workload.open(trace);
  Output out(path);
  const auto count = write_trace(*source, format, [&](const std::string& text) { out.write(text); });
  out.close();
  print_notes(*source, options);
  if (!options.output().quiet) {
    fmt::print(stderr, "wrote {} requests as {} (which cannot hold {})\n", count, format, writer.make.loses);
  }
  return 0;
}

int convert(const std::vector<std::string>& args) {
  return write(args, "trace convert", "Write a trace in another format, rescaled or cut on the way.", true);
}
int synth(const std::vector<std::string>& args) {
  return write(args, "trace synth", "Write a synthetic workload as a trace.", false);
}

int run(const std::vector<std::string>& args) {
  return dispatch("trace", "Inspect, convert and make request traces.",
                  {{"stats", "count, rate, lengths and prefix reuse", stats},
                   {"head", "the first requests, as the simulator sees them", head},
                   {"convert", "write a trace in another format", convert},
                   {"synth", "write a synthetic workload as a trace", synth}},
                  args);
}

const Registration<Commands> registered{"trace", "inspect, convert and make request traces", run};

}  // namespace
}  // namespace orrery
