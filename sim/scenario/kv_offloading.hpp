#pragma once

#include <optional>
#include <string>
#include <vector>

#include "des/simulation.hpp"
#include "report/summary.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

struct Deployment;

/// Whether blocks of known prefixes are kept below the GPUs' memory.
bool offloads_kv(const Scenario& scenario);

/// The network, with the rates that a scenario states of its own.
NetworkProfile network_of(const Scenario& scenario);

/// Gives `replica`, whose blocks are those of `d.kv`, the tiers a scenario asks for and the ways to them.
/// Errors: ConfigError for sizes without what they need, or two engines' settings at once.
void choose_tiers(const Scenario& scenario, const Deployment& d, ReplicaConfig& replica);

/// What a run says of its tiers.
struct OffloadingReport {
  struct Tier {
    std::string name;
    double hit_share = 0;  ///< of the prompts' tokens
    double read_bytes = 0, written_bytes = 0, evicted_bytes = 0;
  };
  std::vector<Tier> tiers;
  double swapped_out_bytes = 0, swapped_in_bytes = 0;  ///< of preempted sequences
  std::int64_t loads = 0;
  double mean_load_ms = 0;  ///< that a request waited for one
};
/// None without tiers and swap space.
std::optional<OffloadingReport> offloading_report(const Deployment& d, const SimulationResult& result);
OrderedJson to_json(const OffloadingReport& report);

}  // namespace orrery
