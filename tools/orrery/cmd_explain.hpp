#pragma once

#include <string>
#include <vector>

namespace orrery {

/// The verbs of `orrery explain` that stand in files of their own.
int explain_arch(const std::vector<std::string>& args);
/// `orrery explain run DIR`.
int explain_run_command(const std::vector<std::string>& args);

}  // namespace orrery
