#include "report/slo.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

constexpr const char* kExample = "an SLO looks like ttft<=500ms@p99,tpot<=30ms@p99,attainment>=0.95";

struct Alias {
  std::string_view name;
  Metric metric;
};
// The names the benchmarks use; aiperf calls the per-request mean "inter token latency" and the pooled gaps
// "inter chunk latency".
constexpr Alias kAliases[] = {
    {"ttft", Metric::ttft},
    {"time_to_first_token", Metric::ttft},
    {"tpot", Metric::tpot},
    {"time_per_output_token", Metric::tpot},
    {"inter_token_latency", Metric::tpot},
    {"itl", Metric::itl},
    {"inter_chunk_latency", Metric::itl},
    {"e2e", Metric::e2el},
    {"e2el", Metric::e2el},
    {"e2e_latency", Metric::e2el},
    {"request_latency", Metric::e2el},
};

/// MLPerf Inference, server scenario: p99 limits of loadgen's mlperf.conf, ms.
struct Preset {
  std::string_view name;
  double ttft, tpot;
};
constexpr Preset kMlperf[] = {
    {"deepseek-r1", 2000, 80},    {"deepseek-r1-interactive", 1500, 15},
    {"llama2-70b", 2000, 200},    {"llama2-70b-interactive", 450, 40},
    {"llama3.1-405b", 6000, 175}, {"llama3.1-405b-interactive", 4500, 80},
    {"llama3.1-8b", 2000, 100},   {"llama3.1-8b-interactive", 500, 30},
    {"mixtral-8x7b", 2000, 200},
};

[[noreturn]] void fail(std::string_view term, const std::string& why, const std::string& hint = kExample) {
  throw ConfigError(fmt::format("SLO '{}': {}", term, why), hint, ExitCode::usage);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

/// A number and what follows it.
std::pair<double, std::string> number(std::string_view term, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value)) {
    fail(term, fmt::format("expected a number, found '{}'", text));
  }
  if (value < 0) fail(term, fmt::format("a limit cannot be negative, found '{}'", text));
  return {value, std::string(end, text.data() + text.size())};
}

double milliseconds(std::string_view term, std::string_view text) {
  const auto [value, unit] = number(term, text);
  if (unit.empty() || unit == "ms") return value;
  if (unit == "s") return value * 1e3;
  if (unit == "us") return value * 1e-3;
  fail(term, fmt::format("unknown unit '{}'", unit), "units are us, ms and s; without one it is ms");
}

void read_statistic(SloTerm& out, std::string_view term, const std::string& text) {
  if (text == "mean" || text == "avg") {
    out.over = SloTerm::Over::mean;
  } else if (text == "median") {
    out.percentile = 50;
  } else if (text == "max") {
    out.percentile = 100;
  } else {
    const bool p = !text.empty() && text.front() == 'p';
    const auto [value, rest] = number(term, std::string_view(text).substr(p ? 1 : 0));
    if (!p || !rest.empty() || value > 100) {
      fail(term, fmt::format("unknown statistic '@{}'", text),
           "valid: @p50, @p90, @p99, @p99.9 and so on, @median, @mean, @max");
    }
    out.percentile = value;
  }
}

Metric read_metric(std::string_view term, const std::string& word) {
  for (const auto& a : kAliases) {
    if (a.name == word) return a.metric;
  }
  std::vector<std::string> valid = {"attainment", "goodput"};
  for (const auto& a : kAliases) valid.emplace_back(a.name);
  fail(term, fmt::format("unknown metric '{}'", word), suggestion(word, valid));
}

SloTerm latency_term(std::string_view term, const std::string& word, std::string_view rest,
                     bool per_request) {
  SloTerm out;
  out.metric = read_metric(term, word);
  const auto at = rest.find('@');
  out.limit = milliseconds(term, rest.substr(0, at));
  if (per_request) {
    out.over = SloTerm::Over::requests;
    if (at != std::string_view::npos) fail(term, "the form metric:limit is per request and takes no @");
    if (out.metric == Metric::itl) {
      fail(term, "itl is pooled over requests and has no value per request", "use tpot:30 or itl<=50ms@p99");
    }
    out.text = fmt::format("{}:{:g}", name(out.metric), out.limit);
    return out;
  }
  if (at != std::string_view::npos) read_statistic(out, term, std::string(rest.substr(at + 1)));
  const std::string statistic =
      out.over == SloTerm::Over::mean ? "mean" : fmt::format("p{:g}", out.percentile);
  out.text = fmt::format("{}<={:g}ms@{}", name(out.metric), out.limit, statistic);
  return out;
}

SloTerm floor_term(std::string_view term, const std::string& word, std::string_view rest) {
  SloTerm out;
  auto [value, unit] = number(term, rest);
  if (word == "goodput") {
    out.target = SloTerm::Target::goodput;
    if (!unit.empty() && unit != "req/s" && unit != "rps") {
      fail(term, fmt::format("unknown unit '{}'", unit), "goodput is in requests per second: goodput>=10");
    }
  } else {
    out.target = SloTerm::Target::attainment;
    if (unit == "%") value /= 100;
    if ((!unit.empty() && unit != "%") || value > 1) {
      fail(term, "attainment is a share of requests", "attainment>=0.95 or attainment>=95%");
    }
  }
  out.limit = value;
  out.text = fmt::format("{}>={:g}", word, value);
  return out;
}

void add_preset(std::vector<SloTerm>& terms, std::string_view term, std::string_view preset) {
  std::vector<std::string> valid;
  for (const auto& p : kMlperf) {
    if (p.name == preset) {
      terms.push_back(latency_term(term, "ttft", fmt::format("{:g}ms@p99", p.ttft), false));
      terms.push_back(latency_term(term, "tpot", fmt::format("{:g}ms@p99", p.tpot), false));
      return;
    }
    valid.emplace_back(p.name);
  }
  fail(term, fmt::format("unknown MLPerf preset '{}'", preset), suggestion(preset, valid));
}

void add_term(std::vector<SloTerm>& terms, std::string_view term) {
  const std::string text = lower(term);
  const auto op = text.find_first_of("<>:=");
  if (op == std::string::npos || op == 0) fail(term, "expected METRIC<=LIMIT, METRIC>=LIMIT or METRIC:LIMIT");
  const std::string word = text.substr(0, op);
  const bool has_equals = op + 1 < text.size() && text[op] != ':' && text[op + 1] == '=';
  const std::string_view rest = std::string_view(text).substr(op + (has_equals ? 2 : 1));
  if (word == "mlperf" && text[op] == ':') return add_preset(terms, term, rest);
  const bool floor = word == "attainment" || word == "goodput";
  if (floor && text[op] == '>') {
    terms.push_back(floor_term(term, word, rest));
  } else if (!floor && (text[op] == '<' || text[op] == ':')) {
    terms.push_back(latency_term(term, word, rest, text[op] == ':'));
  } else {
    if (!floor) read_metric(term, word);
    fail(term, floor ? word + " is a floor: use >=" : word + " is a latency: use <=");
  }
}

}  // namespace

std::optional<double> Slo::threshold_ms(Metric metric) const {
  std::optional<double> loosest;
  for (const auto& t : terms) {
    if (t.target != SloTerm::Target::latency || t.metric != metric || metric == Metric::itl) continue;
    if (t.over == SloTerm::Over::mean) continue;
    loosest = std::max(loosest.value_or(0), t.limit);
  }
  return loosest;
}

bool Slo::has_thresholds() const {
  return threshold_ms(Metric::ttft) || threshold_ms(Metric::tpot) || threshold_ms(Metric::e2el);
}

std::vector<double> Slo::percentiles() const {
  std::vector<double> out;
  for (const auto& t : terms) {
    if (t.target == SloTerm::Target::latency && t.over == SloTerm::Over::percentile) {
      out.push_back(t.percentile);
    }
  }
  return out;
}

Slo parse_slo(std::string_view text) {
  Slo slo;
  for (std::size_t from = 0; from < text.size();) {
    const auto to = std::min(text.find_first_of(", \t\n", from), text.size());
    if (to > from) add_term(slo.terms, text.substr(from, to - from));
    from = to + 1;
  }
  const bool needs_thresholds = std::any_of(slo.terms.begin(), slo.terms.end(), [](const SloTerm& t) {
    return t.target != SloTerm::Target::latency;
  });
  if (needs_thresholds && !slo.has_thresholds()) {
    fail(text, "attainment and goodput need a latency to attain", kExample);
  }
  return slo;
}

Slo parse_slo(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& t : texts) all += t + ",";
  return parse_slo(all);
}

std::vector<std::string> slo_presets() {
  std::vector<std::string> out;
  for (const auto& p : kMlperf) out.push_back("mlperf:" + std::string(p.name));
  return out;
}

}  // namespace orrery
