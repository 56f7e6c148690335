#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "workload/trace_source.hpp"

/// All requests of a trace given as text.
inline std::vector<orrery::Request> replay(const std::string& text, orrery::WorkloadSpec spec = {}) {
  const auto source = orrery::make_trace_source(spec, orrery::ByteSource::memory(text, "trace"), 1);
  std::vector<orrery::Request> all;
  orrery::Request r;
  while (source->next(r)) all.push_back(r);
  return all;
}

/// The error that replaying a trace ends in; one that says so when there is none.
inline orrery::ConfigError replay_error(const std::string& text, const orrery::WorkloadSpec& spec = {}) {
  try {
    replay(text, spec);
  } catch (const orrery::ConfigError& e) {
    return e;
  }
  return orrery::ConfigError("no error");
}

inline std::string what(const orrery::ConfigError& e) {
  return e.what();
}
