#include "scenario/compare.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace {

/// What is always shown, and whether less of it is better.
struct Shown {
  const char* metric;
  bool lower_is_better;
};
constexpr Shown kShown[] = {
    {"request_throughput", false},
    {"output_throughput", false},
    {"request_goodput", false},
    {"mean_ttft_ms", true},
    {"p99_ttft_ms", true},
    {"mean_tpot_ms", true},
    {"p99_tpot_ms", true},
    {"p99_itl_ms", true},
    {"mean_e2el_ms", true},
    {"p99_e2el_ms", true},
    {"failed", true},
};

std::optional<double> number(const OrderedJson& summary, const std::string& metric) {
  const auto it = summary.find(metric);
  if (it == summary.end() || !it->is_number()) return std::nullopt;
  return it->get<double>();
}

Change change_of(const OrderedJson& base, const OrderedJson& now, const std::string& metric) {
  Change c;
  c.metric = metric;
  c.base = number(base, metric).value_or(0), c.now = number(now, metric).value_or(0);
  const auto known =
      std::find_if(std::begin(kShown), std::end(kShown), [&](const Shown& s) { return s.metric == metric; });
  c.judged = known != std::end(kShown);
  if (c.judged) c.lower_is_better = known->lower_is_better;
  if (!c.judged && metric.size() > 3 && metric.substr(metric.size() - 3) == "_ms")
    c.judged = c.lower_is_better = true;
  return c;
}

bool beyond(const ChangeLimit& limit, const Change& c) {
  const double change = limit.relative ? c.share() : c.now - c.base;
  return limit.above ? change > limit.limit : change < limit.limit;
}

ChangeLimit parse_limit(const std::string& text) {
  const auto sign = text.find_first_of("<>");
  if (sign == std::string::npos || sign == 0) {
    throw ConfigError("expected a metric and how far it may move, found '" + text + "'",
                      "p99_ttft_ms>+5%,output_throughput<-2%", ExitCode::usage);
  }
  ChangeLimit out;
  out.text = text;
  out.metric = text.substr(0, sign);
  out.above = text[sign] == '>';
  std::string value = text.substr(sign + 1);
  out.relative = !value.empty() && value.back() == '%';
  if (out.relative) value.pop_back();
  const bool negative = !value.empty() && value.front() == '-';
  if (!value.empty() && (value.front() == '+' || negative)) value.erase(0, 1);
  out.limit = parse_number(value) * (negative ? -1 : 1) / (out.relative ? 100 : 1);
  return out;
}

double deviation(const std::vector<double>& values) {
  double mean = 0, square = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  for (const double v : values) square += (v - mean) * (v - mean);
  return values.size() < 2 ? 0 : std::sqrt(square / static_cast<double>(values.size() - 1));
}

/// Values of each metric under the seeds that follow a scenario's own.
using Samples = std::map<std::string, std::vector<double>>;
Samples sample(const Comparison& comparison, const Scenario& scenario, int seeds,
               const std::function<void()>& progress) {
  const Deployment deployment = deploy(scenario);
  Samples out;
  for (int i = 0; i < seeds; ++i) {
    Scenario s = scenario;
    s.seed += static_cast<std::uint64_t>(i) + 1;
    const OrderedJson summary = to_json(run_deployed(deployment, s));
    for (const Change& c : comparison.changes) out[c.metric].push_back(number(summary, c.metric).value_or(0));
    progress();
  }
  return out;
}

/// Twice the standard deviation of the change, as a share. The same seed brings both runs the same requests,
/// so that what is random in those cancels.
double noise_of(const std::vector<double>& base, const std::vector<double>& now, bool paired) {
  std::vector<double> changes;
  double mean = 0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    if (base[i] == 0) return 0;
    changes.push_back(now[i] / base[i]);
    mean += base[i] / static_cast<double>(base.size());
  }
  return 2 * (paired ? deviation(changes) : std::hypot(deviation(base), deviation(now)) / std::abs(mean));
}

}  // namespace

std::vector<ChangeLimit> parse_limits(const std::string& text) {
  std::vector<ChangeLimit> out;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    out.push_back(parse_limit(text.substr(start, end - start)));
    start = end + 1;
  }
  return out;
}

std::string Change::verdict() const {
  const double beyond_noise = std::abs(share()) - noise;
  if (base == now || beyond_noise <= 0) return noise > 0 && base != now ? "same (inside noise)" : "same";
  if (!judged) return "changed";
  return (now < base) == lower_is_better ? "better" : "worse";
}

Comparison compare(const OrderedJson& base, const OrderedJson& now, const std::vector<ChangeLimit>& limits) {
  Comparison out;
  std::vector<std::string> metrics;
  for (const Shown& s : kShown) {
    if (number(base, s.metric) && number(now, s.metric)) metrics.emplace_back(s.metric);
  }
  for (const ChangeLimit& limit : limits) {
    if (!number(base, limit.metric) || !number(now, limit.metric)) {
      std::vector<std::string> names;
      for (const auto& [name, value] : base.items()) {
        if (value.is_number()) names.push_back(name);
      }
      throw ConfigError("the runs have no number '" + limit.metric + "'", suggestion(limit.metric, names),
                        ExitCode::usage);
    }
    if (std::find(metrics.begin(), metrics.end(), limit.metric) == metrics.end())
      metrics.push_back(limit.metric);
  }
  for (const std::string& metric : metrics) out.changes.push_back(change_of(base, now, metric));
  for (const ChangeLimit& limit : limits) {
    const auto c = std::find_if(out.changes.begin(), out.changes.end(),
                                [&](const Change& x) { return x.metric == limit.metric; });
    if (beyond(limit, *c))
      out.broken.push_back(fmt::format("{}: {:.4g} to {:.4g}", limit.text, c->base, c->now));
  }
  return out;
}

void add_noise(Comparison& comparison, const Scenario& base, const Scenario& now, int seeds,
               const std::function<void(int, int)>& progress) {
  int done = 0;
  const auto told = [&] {
    if (progress) progress(++done, 2 * seeds);
  };
  const Samples before = sample(comparison, base, seeds, told), after = sample(comparison, now, seeds, told);
  for (Change& c : comparison.changes)
    c.noise = noise_of(before.at(c.metric), after.at(c.metric), base.seed == now.seed);
}

std::vector<std::string> setting_changes(const Assignments& base, const Assignments& now) {
  std::map<std::string, std::pair<std::string, std::string>> values;
  for (const Assignment& a : base) values[a.name].first = a.value;
  for (const Assignment& a : now) values[a.name].second = a.value;
  std::vector<std::string> out;
  for (const auto& [name, both] : values) {
    if (both.first == both.second) continue;
    const auto shown = [](const std::string& v) { return v.empty() ? std::string("(default)") : v; };
    out.push_back(fmt::format("{}: {} -> {}", name, shown(both.first), shown(both.second)));
  }
  return out;
}

OrderedJson to_json(const Comparison& c) {
  OrderedJson changes = OrderedJson::array();
  for (const Change& x : c.changes) {
    changes.push_back({{"metric", x.metric},
                       {"base", x.base},
                       {"now", x.now},
                       {"change", x.share()},
                       {"noise", x.noise},
                       {"verdict", x.verdict()}});
  }
  return {{"changes", changes}, {"settings", c.differs}, {"broken", c.broken}};
}

}  // namespace orrery
