#pragma once

#include <memory>

#include "cache_eviction.hpp"
#include "meter.hpp"

namespace orrery::profile {

/// Times by CUDA events, where CUPTI does not start. Warm: a graph of as many launches as fill a few
/// milliseconds, divided by their number. Cold: one replay between two events, which adds some microseconds
/// of launch to short kernels; the provenance line names the timer.
std::unique_ptr<Meter> make_event_meter(std::shared_ptr<const CacheEviction> eviction);

}  // namespace orrery::profile
