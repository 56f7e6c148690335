#include "scenario/measured_run.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "report/distribution.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

namespace {

constexpr double kLongestRunS = 9.2e6;  // 2^63 ps
constexpr std::size_t kMaxExact = 1 << 24;

void set_if_unset(std::optional<double>& to, double value) {
  if (!to) to = value;
}

void fill_stats(MeasuredStats& stats, const std::vector<double>& values) {
  if (values.empty()) return;
  Distribution distribution(kMaxExact);
  for (const double v : values) distribution.add(v);
  const double percentiles[] = {99};
  const MetricStats s = distribution.stats(percentiles, PercentileMethod::linear);
  set_if_unset(stats.mean, s.mean);
  set_if_unset(stats.median, s.median);
  set_if_unset(stats.p99, s.at(99));
}

}  // namespace

std::optional<double> MeasuredRequest::latency_ms(Metric m) const {
  switch (m) {
    case Metric::ttft:
      return ttft_ms;
    case Metric::tpot:
      return tpot_ms;
    case Metric::e2el:
      return e2e_ms;
    case Metric::itl:
      break;
  }
  return std::nullopt;
}

void summarise(MeasuredRun& run, const std::vector<double>& gaps_ms) {
  for (const Metric m : {Metric::ttft, Metric::tpot, Metric::e2el}) {
    std::vector<double> values;
    for (const auto& r : run.requests) {
      if (const auto v = r.latency_ms(m)) values.push_back(*v);
    }
    fill_stats(run.latency[static_cast<std::size_t>(m)], values);
  }
  fill_stats(run.latency[static_cast<std::size_t>(Metric::itl)], gaps_ms);
  if (run.requests.empty()) return;

  std::int64_t prompt = 0, output = 0;
  for (const auto& r : run.requests) prompt += r.prompt_tokens, output += r.output_tokens;
  const auto n = static_cast<double>(run.requests.size());
  run.load.mean_prompt_tokens = static_cast<double>(prompt) / n;
  run.load.mean_output_tokens = static_cast<double>(output) / n;
  if (run.duration_s > 0) {
    set_if_unset(run.request_throughput, n / run.duration_s);
    set_if_unset(run.output_throughput, static_cast<double>(output) / run.duration_s);
  }
}

MeasuredRun read_measured_run(const std::string& path) {
  const std::string head = ByteSource::file(path).head(64 << 10);
  const auto first = first_line(head);
  if (first.empty()) throw ConfigError("the file is empty").at(path);
  MeasuredRun run =
      first.front() == '{' || first.front() == '[' ? read_bench_result(path) : read_request_log(path);
  if (run.completed == 0) throw ConfigError("no request of this run completed").at(path);
  if (!run.requests.empty() && run.requests.back().arrival_s > kLongestRunS) {
    throw ConfigError("the requests arrive over more than 106 days, the span of simulated time",
                      "are all of their times from one clock, in seconds?")
        .at(path);
  }
  if (run.failed > 0) {
    run.notes.push_back(fmt::format(
        "failed when measured: {}; left out, since what load they were is not known", run.failed));
  }
  return run;
}

}  // namespace orrery
