#include "report/activity.hpp"

#include <algorithm>

#include "report/expand_steps.hpp"

namespace orrery {

void Activity::tokens(const DecodeRun& run) {
  const Ps end = run.end();
  if (end < origin_) return;
  if (run.start >= origin_ && index(run.start) == index(end)) {
    at(end).tokens += static_cast<double>(run.tokens());
    return;
  }
  std::int64_t done = steps_ended_before(run, origin_);
  for (Ps edge = origin_ + Ps(static_cast<std::int64_t>(index(std::max(run.start, origin_)) + 1) * kSecond);
       done < run.steps; edge += Ps(kSecond)) {
    const std::int64_t upto = steps_ended_before(run, edge);
    if (upto > done)
      at(edge - Ps(1)).tokens += static_cast<double>(run.tokens_by(upto) - run.tokens_by(done));
    done = upto;
  }
}

void Activity::waiting(Ps from, Ps to, std::int64_t requests) {
  from = std::max(from, origin_);
  while (from < to) {
    const Ps edge = origin_ + Ps(static_cast<std::int64_t>(index(from) + 1) * kSecond);
    const Ps until = std::min(edge, to);
    at(from).queued_s += to_seconds(until - from).value * static_cast<double>(requests);
    from = until;
  }
}

double Activity::peak_tokens() const {
  double peak = 0;
  for (const auto& s : seconds_) peak = std::max(peak, s.tokens);
  return peak;
}

std::int64_t Activity::peak_active() const {
  std::int64_t active = 0, peak = 0;
  for (const auto& s : seconds_) {
    active += s.arrivals;
    peak = std::max(peak, active);
    active -= s.completions;
  }
  return peak;
}

}  // namespace orrery
