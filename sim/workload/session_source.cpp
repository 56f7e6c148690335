#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <queue>
#include <unordered_map>

#include "workload/trace_source.hpp"

namespace orrery {
namespace {

class SessionSource : public RequestSource {
 public:
  SessionSource(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed)
      : rows_(std::move(source), spec.read), rate_scale_(spec.rate_scale) {
    if (spec.target_rps > 0 || spec.loop > 1) {
      throw ConfigError(
          "a trace with sessions that wait for answers has no rate of its own: it cannot be looped or given "
          "a target rate",
          "--rate-scale changes how fast its sessions start")
          .at(rows_.name());
    }
    latest_ = spec.duration_s > 0 && spec.duration_s < 9e6 ? to_ps(Seconds(spec.duration_s)) : kNever;
    const bool timed = rows_.timed() && spec.read.use_timestamps;
    if (!timed) arrivals_ = make_arrivals(spec.arrivals, spec.request_rate, seed);
    load();
    left_ = spec.num_prompts > 0 ? std::min(spec.num_prompts, waiting_) : waiting_;
  }

  bool next(Request& out) override {
    if (left_ == 0 || ready_.empty() || ready_.top().at >= latest_) return false;
    const Turn turn = ready_.top();
    ready_.pop();
    const TraceRow& row = all_[turn.row];
    out = Request{given_++,   turn.at,    row.prompt_tokens, row.output_tokens, row.images,
                  row.prefix, row.client, row.priority,      row.session,       turn.number};
    --left_;
    return true;
  }

  void completed(const Request& request, Ps now) override {
    const auto session = later_.find(request.session);
    if (session == later_.end() || session->second.empty()) return;
    const std::size_t row = session->second.front();
    session->second.pop_front();
    if (all_[row].delay_ns * 1000 > kNever.value - now.value) return;  // beyond the end of simulated time
    ready_.push({now + Ps(all_[row].delay_ns * 1000), row, request.turn + 1});
  }

  bool closed_loop() const override { return true; }
  std::int64_t total() const override { return left_; }
  std::vector<std::string> notes() const override {
    auto out = rows_.notes();
    out.emplace_back(
        "sessions: rows with a delay are sent that long after the answer to their session's previous row");
    return out;
  }

 private:
  struct Turn {
    Ps at{0};
    std::size_t row = 0;
    std::int32_t number = 0;
    bool operator>(const Turn& o) const { return at != o.at ? at > o.at : row > o.row; }
  };

  /// Rows with a delay wait behind their session's first row; all others are ready at their time.
  void load() {
    TraceRow row;
    std::int64_t first_ns = kNoTime;
    while (rows_.next(row)) {
      const std::size_t index = all_.size();
      all_.push_back(row);
      ++waiting_;
      const auto session = row.session >= 0 ? later_.try_emplace(row.session) : std::pair{later_.end(), true};
      if (row.delay_ns != kNoTime && row.time_ns == kNoTime && !session.second) {
        session.first->second.push_back(index);
        continue;
      }
      if (first_ns == kNoTime) first_ns = row.time_ns;
      const double s = arrivals_                ? arrivals_->next()
                       : row.time_ns == kNoTime ? 0
                                                : 1e-9 * double(row.time_ns - first_ns);
      const double scaled = s / rate_scale_;
      if (scaled < 9e6) ready_.push({to_ps(Seconds(std::max(scaled, 0.0))), index});
    }
  }

  TraceRows rows_;
  double rate_scale_;
  Ps latest_ = kNever;
  ArrivalProcessPtr arrivals_;
  std::vector<TraceRow> all_;
  std::unordered_map<std::int32_t, std::deque<std::size_t>> later_;  ///< by session: rows still to come
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> ready_;
  std::int64_t waiting_ = 0, left_ = 0, given_ = 0;
};

}  // namespace

RequestSourcePtr make_session_source(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed) {
  return std::make_unique<SessionSource>(spec, std::move(source), seed);
}

}  // namespace orrery
