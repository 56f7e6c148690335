#pragma once

#include <string>
#include <vector>

#include "des/collective_run.hpp"
#include "report/summary.hpp"

namespace orrery {

/// One collective priced as steps price it, and run as messages that share links.
struct FabricRow {
  CollectiveKind kind = CollectiveKind::all_reduce;
  int ranks = 2, servers = 1;
  double bytes = 0;
  double priced_s = 0;  ///< AlphaBeta
  double run_s = 0;     ///< its launch and its messages on the fabric
  double ratio() const { return run_s / priced_s; }
};

struct FabricValidation {
  std::string gpu = "h100-sxm", network = "rail-fat-tree", fabric = "simgrid";
  std::vector<int> ranks = {2, 4, 8, 16, 32};
  std::vector<double> bytes = {64e3, 1e6, 16e6, 256e6};
};

/// Every kind of collective over every number of ranks and size. Errors: ConfigError.
std::vector<FabricRow> validate_fabric(const FabricValidation& settings);
OrderedJson to_json(const std::vector<FabricRow>& rows);

}  // namespace orrery
