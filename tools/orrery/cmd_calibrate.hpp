#pragma once

#include <string>
#include <vector>

#include "cost/fit_file.hpp"

namespace orrery {

// The verbs of `orrery calibrate` that stand in files of their own. Each returns the exit code.

/// Hands its arguments to the collector, orrery-profile, a program of its own because it needs a GPU.
int calibrate_collect(const std::vector<std::string>& args);
int calibrate_coverage(const std::vector<std::string>& args);
int calibrate_show(const std::vector<std::string>& args);
int calibrate_transfer(const std::vector<std::string>& args);

/// The table of a fit's errors on rows that were held out of it.
void print_held_out(const FitFile& fit);

}  // namespace orrery
