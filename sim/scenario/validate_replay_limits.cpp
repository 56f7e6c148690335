#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/validate_replay.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace {

std::string key_of(std::string metric, std::string statistic, const std::string& text) {
  if (metric == "throughput") metric = "output_throughput";
  if (metric == "output_throughput" || metric == "request_throughput") {
    if (statistic.empty()) return metric;
    throw ConfigError(fmt::format("'{}': a throughput has no {}", text, statistic), {}, ExitCode::usage);
  }
  if (metric == "e2e") metric = "e2el";
  const std::vector<std::string> metrics = {"ttft", "tpot",       "itl",
                                            "e2el", "throughput", "request_throughput"};
  if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end())
    throw ConfigError(fmt::format("'{}': unknown metric '{}'", text, metric), suggestion(metric, metrics),
                      ExitCode::usage);
  if (statistic.empty()) statistic = "mean";
  if (statistic == "p50") statistic = "median";
  const std::vector<std::string> statistics = {"mean", "median", "p99"};
  if (std::find(statistics.begin(), statistics.end(), statistic) == statistics.end())
    throw ConfigError(fmt::format("'{}': unknown statistic '{}'", text, statistic),
                      suggestion(statistic, statistics), ExitCode::usage);
  return fmt::format("{}_{}_ms", statistic, metric);
}

ErrorLimit parse_error_limit(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw ConfigError("expected a limit such as tpot=5% or ttft@p99=20%, found '" + text + "'", {},
                      ExitCode::usage);
  const std::string what = text.substr(0, equals);
  std::string value = text.substr(equals + 1);
  const bool in_percent = !value.empty() && value.back() == '%';
  if (in_percent) value.pop_back();
  const auto at = what.find('@');
  ErrorLimit limit;
  limit.text = text;
  limit.key = key_of(what.substr(0, at), at == std::string::npos ? "" : what.substr(at + 1), text);
  limit.limit = parse_number(value) / (in_percent ? 100 : 1);
  if (limit.limit < 0)
    throw ConfigError(fmt::format("'{}': an error is at least 0", text), {}, ExitCode::usage);
  return limit;
}

}  // namespace

std::vector<ErrorLimit> parse_error_limits(std::string_view text) {
  std::vector<ErrorLimit> out;
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    out.push_back(parse_error_limit(std::string(text.substr(start, end - start))));
    start = end + 1;
  }
  return out;
}

}  // namespace orrery
