#include "activity_trace.hpp"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "meter.hpp"

namespace orrery::profile {

using Kind = ActivityRecord::Kind;
using kernels::Timing;

namespace {

/// Nanoseconds of one launch's records, ascending by start.
std::uint64_t duration(std::span<const ActivityRecord> records, Timing timing) {
  std::uint64_t sum = 0, end = 0;
  for (const ActivityRecord& r : records) {
    const bool is_copy = r.kind == Kind::copy;
    if (timing == Timing::copies ? is_copy : !is_copy) sum += r.end - r.start;
    end = std::max(end, r.end);
  }
  return timing == Timing::span && !records.empty() ? end - records.front().start : sum;
}

}  // namespace

std::vector<double> seconds_per_launch(std::vector<ActivityRecord> trace, Timing timing, int launches) {
  std::stable_sort(trace.begin(), trace.end(),
                   [](const ActivityRecord& a, const ActivityRecord& b) { return a.start < b.start; });
  std::vector<double> seconds;
  auto at = std::find_if(trace.begin(), trace.end(), [](const auto& r) { return r.kind == Kind::marker; });
  while (at != trace.end()) {
    const auto next = std::find_if(at + 1, trace.end(), [](const auto& r) { return r.kind == Kind::marker; });
    seconds.push_back(static_cast<double>(duration({at + 1, next}, timing)) * 1e-9);
    if (!(seconds.back() > 0)) throw MeterError("a launch left no record that is timed");
    at = next;
  }
  if (static_cast<int>(seconds.size()) != launches) {
    throw MeterError(fmt::format("the timer recorded {} of {} launches", seconds.size(), launches));
  }
  return seconds;
}

}  // namespace orrery::profile
