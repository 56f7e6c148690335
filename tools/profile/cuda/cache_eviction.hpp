#pragma once

#include <cstdint>
#include <functional>

#include "runtime/runtime.hpp"

namespace orrery::profile {

/// Empties the L2 cache of what a launch is about to read. It reads twice the cache's size and writes
/// nothing: dirty lines would be written back during the launch that is timed, on its account.
class CacheEviction {
 public:
  /// Errors: DeviceError (out of memory).
  explicit CacheEviction(const kernels::DeviceInfo& device);
  /// Enqueues one kernel, named kKernelName in traces: a reading one when `cold`, else one that does nothing
  /// and only marks where the launch after it begins.
  void enqueue(bool cold, kernels::StreamRef stream) const;
  /// Reads for about that long, so that clocks rise; calls `while_running` now and then.
  void busy(double seconds, const std::function<void()>& while_running) const;
  static constexpr const char* kKernelName = "evict_cache_kernel";

 private:
  kernels::DeviceArray<std::uint8_t> data_;
  kernels::DeviceArray<unsigned> sink_;
  unsigned blocks_;
};

}  // namespace orrery::profile
