#pragma once

#include <algorithm>
#include <cstdint>

namespace orrery {

/// What an engine's KV blocks are used for and asked for.
struct InstanceLoad {
  std::int64_t blocks = 0, used_blocks = 0;
  std::int64_t running = 0, waiting = 0;
  std::int64_t head_blocks = 0;  ///< that whoever waits first asks for
  std::int64_t urgent = 0;       ///< running ones with a priority below 0
  bool draining = false;         ///< is to become empty

  InstanceLoad& operator+=(const InstanceLoad& o) {
    blocks += o.blocks, used_blocks += o.used_blocks, running += o.running, waiting += o.waiting;
    head_blocks += o.head_blocks, urgent += o.urgent, draining |= o.draining;
    return *this;
  }
};

/// How many blocks each of an engine's sequences may still take, which falls below zero where more is wanted
/// than there is (Llumnix: Sun et al., OSDI 2024, section 4.4.2 and algorithm 1: capacity less all virtual
/// usages, by the batch size). Virtual usage is what a sequence holds; of those who wait, what the first asks
/// for; beside urgent sequences `headroom_blocks`, which keep others away; without end where an engine is
/// draining.
inline double freeness(const InstanceLoad& load, double headroom_blocks) {
  constexpr double kLeast = -1e18;
  if (load.draining) return kLeast;
  const double headroom = load.urgent > 0 ? headroom_blocks : 0;
  const double used = static_cast<double>(load.used_blocks + load.head_blocks) + headroom;
  const auto batch = static_cast<double>(std::max<std::int64_t>(1, load.running + (load.waiting > 0)));
  return (static_cast<double>(load.blocks) - used) / batch;
}

}  // namespace orrery
