#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace orrery {

/// What a process left.
struct ProcessOutcome {
  std::string output;  ///< what its job returned; "" when it died
  std::string died;    ///< "killed by signal 9 (Killed)"; "" = it returned
};

/// Runs `job(i)` for all i below `count`, each in a process of its own, `workers` at a time, and tells of
/// each as it ends, in any order. A job that dies takes nothing with it. `stop` is asked between jobs; what
/// runs is then waited for.
void run_in_processes(std::size_t count, int workers, const std::function<std::string(std::size_t)>& job,
                      const std::function<void(std::size_t, const ProcessOutcome&)>& done,
                      const std::function<bool()>& stop);

}  // namespace orrery
