#include "workload/trace_source.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr double kLatestPs = 9.2e18;  // just below 2^63
constexpr double kLongestNs = 9.2e18;

/// splitmix64's finaliser: ids of one pass over a trace become other ids, the same for equal ids.
std::uint64_t remix(std::uint64_t id, std::uint64_t pass) {
  std::uint64_t z = id + pass * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

class TraceSource : public RequestSource {
 public:
  TraceSource(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed)
      : rows_(std::move(source), spec.read), ties_(spec.read.spread_ties, seed), spec_(spec), seed_(seed) {
    timed_ = rows_.timed() && spec.read.use_timestamps;
    spread_ = timed_ && spec.read.spread_ties != SpreadTies::none;
    limit_ = spec.num_prompts > 0 ? spec.num_prompts : INT64_MAX;
    latest_ps_ = spec.duration_s > 0 ? std::min(spec.duration_s * kPsPerSecond, kLatestPs) : kLatestPs;
    timed_ ? set_scale() : set_arrivals();
  }

  bool next(Request& out) override {
    if (given_ >= limit_ || ended_) return false;
    while (!next_row()) {
      if (pass_ + 1 >= spec_.loop || rows_in_pass_ == 0) return end();
      start_pass();
    }
    const double t = arrival_ps();
    if (t >= latest_ps_) {
      if (t >= kLatestPs && spec_.duration_s <= 0 && std::isfinite(t)) too_long();
      return end();
    }
    out.arrival = arrival_;
    out.id = given_++;
    out.prompt_tokens = row_.prompt_tokens;
    out.output_tokens = row_.output_tokens;
    out.images = row_.images;
    out.client = row_.client;
    out.priority = row_.priority;
    out.session = row_.session;
    out.prefix = pass_ == 0 ? std::move(row_.prefix) : renamed_prefix();
    return true;
  }

  std::int64_t total() const override {
    if (rows_in_trace_ < 0) return spec_.num_prompts > 0 ? spec_.num_prompts - given_ : -1;
    return std::min(limit_, rows_in_trace_ * spec_.loop) - given_;
  }

  std::vector<std::string> notes() const override {
    auto out = rows_.notes();
    if (!timed_) {
      out.push_back(
          fmt::format("{}: arrivals are generated ({})",
                      spec_.read.use_timestamps ? "the trace has no times" : "the trace's times are not used",
                      describe_arrivals()));
    } else if (const double tick = clock_.tick_s(); tick > 0) {
      const double each = static_cast<double>(clock_.rows) / static_cast<double>(clock_.distinct);
      out.push_back(fmt::format("timestamps are quantised: {:.1f} requests share one, every {:.3g} s{}", each,
                                tick,
                                spread_ ? "; spread over the tick" : "; consider --spread-ties poisson"));
    }
    if (timed_ && scale_ != 1)
      out.push_back(fmt::format("time scaled: arrivals come {:.6g} times as fast", scale_));
    return out;
  }

 private:
  bool next_row() {
    if (!(spread_ ? ties_.next(rows_, row_) : rows_.next(row_))) return false;
    if (row_.delay_ns != kNoTime) {
      throw ConfigError("this row has a delay, but none of those before it",
                        "put a session with a delay at the top")
          .at(rows_.name(), rows_.line());
    }
    ++rows_in_pass_;
    return true;
  }

  bool end() {
    ended_ = true;
    return false;
  }

  void start_pass() {
    rows_.rewind();
    ties_.restart();
    if (timed_) {  // the next pass starts one mean gap after the last arrival
      const double rows = static_cast<double>(rows_in_pass_);
      const double gap = rows > 1 ? static_cast<double>(pass_last_ns_ - first_ns_) / (rows - 1) : 1e9;
      const double span = static_cast<double>(pass_last_ns_ - first_ns_) + gap;
      if (static_cast<double>(pass_offset_ns_) + span > kLongestNs) too_long();
      pass_offset_ns_ += pass_last_ns_ - first_ns_ + std::llround(gap);
    }
    rows_in_trace_ = rows_in_pass_;
    rows_in_pass_ = 0;
    ++pass_;
  }

  /// Sets arrival_; the return value is the same unrounded, so that what does not fit can be told.
  double arrival_ps() {
    if (!timed_) {
      const double ps = arrivals_->next() * kPsPerSecond / spec_.rate_scale;
      if (ps < kLatestPs) arrival_ = Ps(std::llround(ps));
      return ps;
    }
    if (pass_ == 0) {
      clock_.see(row_.time_ns);
      first_ns_ = clock_.first_ns;
    }
    pass_last_ns_ = row_.time_ns;
    const std::int64_t since_first = row_.time_ns - first_ns_;
    if (static_cast<double>(since_first) + static_cast<double>(pass_offset_ns_) > kLongestNs) too_long();
    const std::int64_t ns = since_first + pass_offset_ns_;
    const double ps = static_cast<double>(ns) * (1000.0 / scale_);
    if (ps < kLatestPs) arrival_ = scale_ == 1 ? Ps(ns * 1000) : Ps(std::llround(ps));
    return ps;
  }

  [[noreturn]] void too_long() const {
    throw ConfigError("the trace is longer than 106 days, the span of simulated time",
                      "play it faster (--target-rps, --rate-scale) or only a part of it (--duration)")
        .at(rows_.name());
  }

  void set_scale() {
    scale_ = spec_.rate_scale;
    if (spec_.target_rps <= 0) return;
    TraceClock clock;
    while (rows_.next(row_)) clock.see(row_.time_ns);
    rows_.rewind();
    rows_in_trace_ = clock.rows;
    if (clock.rate() <= 0) {
      throw ConfigError("the trace has no rate to scale: fewer than two distinct arrival times")
          .at(rows_.name());
    }
    scale_ *= spec_.target_rps / clock.rate();
  }

  void set_arrivals() {
    ArrivalSpec arrivals = spec_.arrivals;
    const double rate = spec_.target_rps > 0 ? spec_.target_rps : spec_.request_rate;
    arrivals_ = make_arrivals(arrivals, rate, seed_);
  }

  std::string describe_arrivals() const {
    if (!spec_.arrivals.stages.empty()) return spec_.arrivals.process + " in stages";
    const double rate = spec_.target_rps > 0 ? spec_.target_rps : spec_.request_rate;
    if (std::isinf(rate)) return "all at t = 0; set --request-rate";
    return fmt::format("{} at {:.6g} requests/s", spec_.arrivals.process, rate * spec_.rate_scale);
  }

  std::shared_ptr<const PrefixKeys> renamed_prefix() const {
    if (!row_.prefix) return nullptr;
    auto keys = std::make_shared<PrefixKeys>(*row_.prefix);
    for (auto& id : keys->ids) id = remix(id, static_cast<std::uint64_t>(pass_));
    return keys;
  }

  TraceRows rows_;
  TieSpreader ties_;
  WorkloadSpec spec_;
  std::uint64_t seed_;
  bool timed_ = false, spread_ = false, ended_ = false;
  double scale_ = 1, latest_ps_ = 0;
  ArrivalProcessPtr arrivals_;
  TraceRow row_;
  TraceClock clock_;
  Ps arrival_{0};
  std::int64_t first_ns_ = 0, pass_last_ns_ = 0, pass_offset_ns_ = 0;
  std::int64_t pass_ = 0, rows_in_pass_ = 0, rows_in_trace_ = -1;
  std::int64_t given_ = 0, limit_ = 0;
};

}  // namespace

RequestSourcePtr make_trace_source(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed) {
  const bool sessions = trace_format(source, spec.read) == "mooncake" &&
                        source.head(1 << 20).find("\"delay\"") != std::string::npos;
  if (sessions) return make_session_source(spec, std::move(source), seed);
  return std::make_unique<TraceSource>(spec, std::move(source), seed);
}

}  // namespace orrery
