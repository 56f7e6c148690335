#pragma once

#include <string>
#include <vector>

namespace orrery {

/// Verbs of `orrery validate` that have a file of their own; `args` are the words after them.
int run_validate_replay(const std::vector<std::string>& args);
int run_validate_fabric(const std::vector<std::string>& args);
int run_validate_papers(const std::vector<std::string>& args);
int run_validate_live(const std::vector<std::string>& args);

}  // namespace orrery
