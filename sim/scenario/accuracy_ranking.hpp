#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "scenario/validate_servers.hpp"

namespace orrery {

/// How well predictions order the splits of one server under one load, which is what a planner needs of them.
struct SplitRanking {
  std::size_t pairs = 0;       ///< of splits measured under the same load
  double tau_tpot = 0;         ///< Kendall's tau of predicted and measured TPOT
  double tau_per_gpu = 0;      ///< of tokens per second and GPU: users / (TPOT x GPUs)
  std::size_t choices = 0;     ///< series of tests with a limit on TPOT that some split and load meet
  double same_split = 0;       ///< share of them in which the split with the most tokens per GPU is the same
  double kept_throughput = 0;  ///< measured tokens per GPU of what was chosen, over the best; on the mean
};
SplitRanking rank_splits(const std::vector<ServerRow>& rows);
/// The same as a section of the accuracy page; "" where no server was measured with several splits.
std::string ranking_section(const std::vector<ServerRow>& rows);

}  // namespace orrery
