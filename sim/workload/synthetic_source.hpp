#pragma once

#include <cstdint>

#include "workload/length_distribution.hpp"
#include "workload/source.hpp"

namespace orrery {

/// Requests drawn from the spec's arrival process and length distributions, or its shared prefixes.
/// Errors: ConfigError naming the field.
RequestSourcePtr make_synthetic_source(const WorkloadSpec& spec, std::uint64_t seed);

/// Sessions as `spec.sessions` says, starting as its arrival process does. Errors: ConfigError for a spec out
/// of range, or a target rate.
RequestSourcePtr make_session_generator(const WorkloadSpec& spec, LengthDistributionPtr input,
                                        LengthDistributionPtr output, std::uint64_t seed);

/// Lets at most `spec.max_concurrency` requests of `inner` be in the system: a request is sent when its time
/// has come and a client is free. A client is free again its delay and think time after its answer's last
/// token.
RequestSourcePtr limit_concurrency(RequestSourcePtr inner, const WorkloadSpec& spec, std::uint64_t seed);

/// A spec with the lengths, arrivals and number of requests of a built-in workload where it does not set its
/// own. Errors: ConfigError when there is none of this name.
WorkloadSpec builtin_workload(const std::string& name, WorkloadSpec spec);

}  // namespace orrery
