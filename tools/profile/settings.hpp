#pragma once

#include <optional>
#include <string>
#include <vector>

namespace orrery::profile {

/// What the command line asks of the collector.
struct Settings {
  bool dry_run = false, list = false, quick = false, check = false, quiet = false, help = false;
  bool probe_counters = false, no_counters = false;
  std::optional<double> budget_s;  ///< wall-clock seconds; none = every sweep to its end
  std::vector<std::string> only;   ///< components or kernel classes; empty = all
  std::string only_shapes;         ///< a file of `orrery calibrate coverage --out`
  std::string out;                 ///< folder of the tables; "" = the device's in hwprofiles/
  std::string compare;             ///< a device folder with measured/, or that folder
};

/// Errors: ConfigError (usage) for an unknown option, a missing or impossible value, options that exclude one
/// another.
Settings parse_arguments(const std::vector<std::string>& args);
/// The text of --help.
std::string help_text(const std::string& program);

}  // namespace orrery::profile
