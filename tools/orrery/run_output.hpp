#pragma once

#include <string>
#include <vector>

#include "options.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

/// "note: ..." and "warning: ..." lines on stderr, unless --quiet.
void print_notes(const std::vector<std::string>& notes, const OutputOptions& output);
void print_warnings(const std::vector<std::string>& warnings, const OutputOptions& output);

/// Shows a run's result on stdout, as a table or as JSON, with what was written where.
/// Returns the exit code: 0, 1 when an SLO was missed or no request was served, 130 when the run was
/// interrupted.
int print_result(const RunResult& result, const OutputOptions& output);

/// The run directory for --out: "none" = "", "" = a fresh name below runs/.
std::string choose_directory(const std::string& out, const std::string& model);

}  // namespace orrery
