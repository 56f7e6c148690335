#pragma once

#include <memory>
#include <string>

#include "cache_eviction.hpp"
#include "meter.hpp"

namespace orrery::profile {

/// Kernel and copy durations by CUPTI's Activity API, on the GPU's own clock: no launch gaps, no host in
/// them. nullptr, and `why` a sentence, when CUPTI does not start here.
std::unique_ptr<Meter> make_cupti_meter(std::shared_ptr<const CacheEviction> eviction, std::string& why);

}  // namespace orrery::profile
