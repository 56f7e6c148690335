#pragma once

#include <cstdint>
#include <vector>

#include "workload/source.hpp"

namespace orrery {

/// Requests held in memory, such as those of a run that was recorded.
struct RequestList {
  std::vector<Request> requests;  ///< in the order in which they are sent; ids are given from 0
  bool timed = true;              ///< false: the arrivals are drawn from the spec's arrival process
};

/// Gives the requests of `spec.list` in their order, which is that of arrival when they are timed.
/// Errors: ConfigError for a list without requests or an arrival process that cannot be.
RequestSourcePtr make_list_source(const WorkloadSpec& spec, std::uint64_t seed);

}  // namespace orrery
