#include <cmath>

#include <fmt/format.h>

#include "scenario/setting_field.hpp"

namespace orrery {

namespace {

constexpr ValueRange kDuration{0, 1e9, ValueForm::duration};

[[noreturn]] void refuse_field(const NamedSpec& spec, const std::string& key,
                               std::vector<std::string> known) {
  throw ConfigError(fmt::format("'{}' has no field '{}'", spec.name, key), suggestion(key, known));
}

/// `gamma:cv=2`, `on_off:on=10s,off=30s`, `diurnal:period=1d,amplitude=0.5`, `weibull:burstiness=0.5`.
void set_arrivals(Scenario& s, const std::string& text) {
  const NamedSpec spec = parse_named_spec(text);
  ArrivalSpec a;
  a.stages = s.workload.arrivals.stages;
  a.process = spec.name;
  for (const auto& [key, value] : spec.fields) {
    if (key == "burstiness" || key == "shape") {
      a.burstiness = parse_number(value);
    } else if (key == "cv") {
      a.cv = parse_number(value);
    } else if (key == "on") {
      a.on_s = parse_duration_s(value);
    } else if (key == "off") {
      a.off_s = parse_duration_s(value);
    } else if (key == "period") {
      a.period_s = parse_duration_s(value);
    } else if (key == "amplitude") {
      a.amplitude = parse_number(value);
    } else {
      refuse_field(spec, key, {"burstiness", "cv", "on", "off", "period", "amplitude"});
    }
  }
  s.workload.arrivals = a;
}

Json show_arrivals(const Scenario& s) {
  const auto& a = s.workload.arrivals;
  std::string text = a.process;
  char separator = ':';
  const auto field = [&](const char* key, double value, double fallback, const char* unit = "") {
    if (value == fallback) return;
    text += fmt::format("{}{}={}{}", separator, key, value, unit);
    separator = ',';
  };
  const ArrivalSpec fallback;
  field("burstiness", a.burstiness, fallback.burstiness);
  field("cv", a.cv, fallback.cv);
  field("on", a.on_s, fallback.on_s, "s");
  field("off", a.off_s, fallback.off_s, "s");
  field("period", a.period_s, fallback.period_s, "s");
  field("amplitude", a.amplitude, fallback.amplitude);
  return text;
}

/// `600s@5,300s@10.5`: duration@rate, one stage after the other.
void set_stages(Scenario& s, const std::string& text) {
  std::vector<RateStage> stages;
  const NamedSpec list = parse_named_spec("stages:" + text);
  for (const auto& field : list.fields) {
    const auto at = field.second.find('@');
    if (!field.first.empty() || at == std::string::npos)
      throw ConfigError("expected stages such as 10m@5,300s@10 (duration@rate), found '" + text + "'");
    stages.push_back({parse_duration_s(field.second.substr(0, at)), parse_rate(field.second.substr(at + 1))});
  }
  s.workload.arrivals.stages = std::move(stages);
}

Json show_stages(const Scenario& s) {
  std::string text;
  for (const auto& stage : s.workload.arrivals.stages) {
    text += fmt::format("{}{}s@{}", text.empty() ? "" : ",", stage.duration_s, stage.rate);
  }
  return text.empty() ? Json() : Json(text);
}

/// `fixed:512`, `uniform:1024,ratio=0.8`, `lognormal:median=800,sigma=1.1`, `empirical:FILE`,
/// `quantiles:p0=1,p50=129,p99=601`; `min=` and `max=` clamp any of them.
LengthSpec parse_lengths(const std::string& text) {
  const NamedSpec spec = parse_named_spec(text);
  LengthSpec l;
  l.distribution = spec.name;
  for (const auto& [key, value] : spec.fields) {
    if (key == "trace" || (key.empty() && spec.name == "empirical")) {
      l.trace = value;
    } else if (key == "mean" || key.empty()) {
      l.mean = static_cast<double>(parse_count(value));
    } else if (key == "ratio") {
      l.ratio = parse_number(value);
    } else if (key == "range") {
      l.range = parse_range_meaning(value);
    } else if (key == "median") {
      l.median = parse_number(value);
    } else if (key == "sigma") {
      l.sigma = parse_number(value);
    } else if (key == "min") {
      l.min = static_cast<std::int32_t>(parse_integer(value, 1, 1'000'000'000));
    } else if (key == "max") {
      l.max = static_cast<std::int32_t>(parse_integer(value, 1, 1'000'000'000));
    } else if (key.size() > 1 && key[0] == 'p' && spec.name == "quantiles") {
      l.quantiles.emplace_back(parse_number(key.substr(1)) / 100, parse_number(value));
    } else {
      refuse_field(spec, key, {"mean", "ratio", "range", "median", "sigma", "min", "max", "trace", "p50"});
    }
  }
  return l;
}

Json show_lengths(const LengthSpec& l) {
  if (l.distribution.empty()) return {};
  const LengthSpec fallback;
  std::string text = l.distribution;
  char separator = ':';
  const auto field = [&](const std::string& key, const std::string& value) {
    text += fmt::format("{}{}={}", separator, key, value);
    separator = ',';
  };
  if (!l.trace.empty()) field("trace", l.trace);
  if (l.mean != 0) field("mean", fmt::format("{}", l.mean));
  if (l.ratio != fallback.ratio) field("ratio", fmt::format("{}", l.ratio));
  if (l.range != fallback.range) field("range", "around");
  if (l.median != 0) field("median", fmt::format("{}", l.median));
  if (l.sigma != 0) field("sigma", fmt::format("{}", l.sigma));
  for (const auto& [p, value] : l.quantiles) field(fmt::format("p{}", p * 100), fmt::format("{}", value));
  if (l.min != fallback.min) field("min", std::to_string(l.min));
  if (l.max != fallback.max) field("max", std::to_string(l.max));
  return text;
}

/// `1024x768`: width and height in pixels.
void set_image_size(Scenario& s, const std::string& text) {
  const auto cross = text.find('x');
  if (cross == std::string::npos)
    throw ConfigError("expected width x height in pixels, as 1024x768, found '" + text + "'");
  const auto pixels = [](const std::string& side) {
    return static_cast<std::int32_t>(parse_integer(side, 1, 1 << 16));
  };
  s.workload.image_width = pixels(text.substr(0, cross));
  s.workload.image_height = pixels(text.substr(cross + 1));
}

void add_image_settings(std::vector<Setting>& out) {
  out.push_back(bind_setting(std::string("workload"), std::string("workload"),
                             std::string("images_per_request"), "N",
                             "images in front of each prompt, their tokens on top of its text",
                             ORRERY_MEMBER(workload.images_per_request), ValueRange{0, 10000}));
  out.push_back({"image_size", "workload", "workload", "", "WxH", "pixels of every image (default 1024x1024)",
                 set_image_size, [](const Scenario& s) {
                   return fmt::format("{}x{}", s.workload.image_width, s.workload.image_height);
                 }});
}

void add_trace_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("workload"), std::string("workload"), rest...));
  };
  const auto special = [&](std::string name, std::string placeholder, std::string help, auto set, auto get) {
    out.push_back(
        {std::move(name), "workload", "workload", "", std::move(placeholder), std::move(help), set, get});
  };
  add("trace", "FILE",
      "a trace (.csv, .jsonl, .json; .gz and .zst too), or builtin:conversation|code|summarisation",
      ORRERY_MEMBER(workload.trace));
  add("format", "FORMAT", "of the trace (default: looked up in its first lines; orrery list trace-formats)",
      ORRERY_MEMBER(workload.read.format));
  special(
      "on_bad_row", "fail|skip", "rows that cannot be read (default fail)",
      [](Scenario& s, const std::string& v) { s.workload.read.on_bad_row = parse_on_bad_row(v); },
      [](const Scenario& s) { return s.workload.read.on_bad_row == OnBadRow::skip ? "skip" : "fail"; });
  special(
      "spread_ties", "none|uniform|poisson", "requests that share a coarse timestamp (default none)",
      [](Scenario& s, const std::string& v) { s.workload.read.spread_ties = parse_spread_ties(v); },
      [](const Scenario& s) {
        constexpr const char* names[] = {"none", "uniform", "poisson"};
        return names[static_cast<int>(s.workload.read.spread_ties)];
      });
  add("sort", "", "sort the trace by time first", ORRERY_MEMBER(workload.read.sort));
  add("use_timestamps", "", "arrivals from the trace (default), not from the generator",
      ORRERY_MEMBER(workload.read.use_timestamps));
  add("custom_output_len", "N", "answer length where a format leaves it out",
      ORRERY_MEMBER(workload.read.default_output_len), ValueRange{1, 1e9});
  add("rate_scale", "X", "2 = twice as fast", ORRERY_MEMBER(workload.rate_scale), ValueRange{1e-9, 1e9});
  add("target_rps", "R", "rescale time to this mean rate", ORRERY_MEMBER(workload.target_rps),
      ValueRange{0, 1e9});
  add("duration", "TIME", "keep arrivals before this time", ORRERY_MEMBER(workload.duration_s), kDuration);
  add("num_prompts", "N", "keep this many requests (default: all; 1000 of a generator)",
      ORRERY_MEMBER(workload.num_prompts));
  add("loop", "N", "replay the trace this many times end to end", ORRERY_MEMBER(workload.loop),
      ValueRange{1, 1e9});
}

void add_synthetic_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("workload"), std::string("synthetic"), rest...));
  };
  const auto special = [&](std::string name, std::string placeholder, std::string help, auto set, auto get) {
    out.push_back(
        {std::move(name), "workload", "synthetic", "", std::move(placeholder), std::move(help), set, get});
  };
  add("random_input_len", "N", "prompt tokens (default 1024)", ORRERY_MEMBER(workload.random_input_len),
      ValueRange{1, 1e9});
  add("random_output_len", "N", "answer tokens (default 128)", ORRERY_MEMBER(workload.random_output_len),
      ValueRange{1, 1e9});
  add("random_range_ratio", "X", "lengths uniform in [X*N, N] (default 1)",
      ORRERY_MEMBER(workload.random_range_ratio), ValueRange{0, 1});
  special(
      "random_range_meaning", "below|around", "around: uniform in [N(1-X), N(1+X)], as newer vllm bench",
      [](Scenario& s, const std::string& v) { s.workload.range_meaning = parse_range_meaning(v); },
      [](const Scenario& s) {
        return s.workload.range_meaning == RangeMeaning::around ? "around" : "below";
      });
  add("request_rate", "R", "requests per second, or inf: all at once (default inf)",
      ORRERY_MEMBER(workload.request_rate),
      ValueRange{1e-9, std::numeric_limits<double>::infinity(), ValueForm::rate});
  add("burstiness", "X", "shape of gamma gaps: 1 = Poisson, less = burstier",
      ORRERY_MEMBER(workload.burstiness), ValueRange{1e-6, 1e9});
  special("arrivals", "PROCESS",
          "poisson, constant, gamma:cv=2, weibull:..., on_off:on=10s,off=30s, diurnal:...", set_arrivals,
          show_arrivals);
  special("stages", "T@R,...", "rates one after the other: 10m@5,5m@10", set_stages, show_stages);
  special(
      "input", "LENGTHS",
      "prompt lengths: fixed:N, uniform:N,ratio=X, lognormal:median=N,sigma=X, empirical:FILE",
      [](Scenario& s, const std::string& v) { s.workload.input = parse_lengths(v); },
      [](const Scenario& s) { return show_lengths(s.workload.input); });
  special(
      "output", "LENGTHS", "answer lengths, likewise",
      [](Scenario& s, const std::string& v) { s.workload.output = parse_lengths(v); },
      [](const Scenario& s) { return show_lengths(s.workload.output); });
}

}  // namespace

void add_workload_settings(std::vector<Setting>& out) {
  add_trace_settings(out);
  add_image_settings(out);
  add_synthetic_settings(out);
  add_prefix_settings(out);
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("workload"), std::string("clients"), rest...));
  };
  add("isolate_clients", "", "clients share no cached prefix (vLLM: a cache_salt for each)",
      ORRERY_MEMBER(workload.isolate_clients));
  add("max_concurrency", "N", "users: at most this many requests in the system; 0 = open loop",
      ORRERY_MEMBER(workload.max_concurrency));
  add("client_delay", "TIME", "from an answer's end to the client's next request (default 1ms)",
      ORRERY_MEMBER(workload.client_delay_s), kDuration);
  add("think_time", "TIME", "mean wait of a user on top of it", ORRERY_MEMBER(workload.think_time_s),
      kDuration);
  add("think_time_cv", "X", "0 = constant, 1 = exponential", ORRERY_MEMBER(workload.think_time_cv),
      ValueRange{0, 100});
}

}  // namespace orrery
