#pragma once

#include <memory>

#include "cache_eviction.hpp"
#include "counters.hpp"

namespace orrery::profile {

/// DRAM bytes of a launch by CUPTI's Range Profiler: one user range around all its kernels, launched again
/// for every pass. Refuses, with a sentence, where the library or the permission is missing.
std::unique_ptr<Counters> make_cupti_counters(std::shared_ptr<const CacheEviction> eviction);

}  // namespace orrery::profile
