#pragma once

#include <string>
#include <vector>

#include "base/registry.hpp"

namespace orrery {

/// Registry kind of the verbs: `orrery VERB ARGS...`. One cmd_<verb>.cpp each, ending in
///
///   const Registration<Commands> registered{"trace", "inspect, convert and make request traces", run};
struct Commands {
  static constexpr const char* kind = "command";
  /// `args` are the words after the verb. Returns the exit code; user errors are thrown as ConfigError.
  using Factory = int (*)(const std::vector<std::string>& args);
};

}  // namespace orrery
