#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "base/units.hpp"

namespace orrery {

/// A plain heap of (time, kind, id): ties go to the smaller kind, then the smaller id. Entries are never
/// removed; a handler that was rescheduled recognises its stale ones by the time it expects.
struct Event {
  Ps time{0};
  std::int32_t kind = 0;
  std::int32_t id = 0;
  auto operator<=>(const Event&) const = default;
};
using EventQueue = std::priority_queue<Event, std::vector<Event>, std::greater<>>;

}  // namespace orrery
