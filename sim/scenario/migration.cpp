#include "scenario/migration.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/placement.hpp"
#include "scenario/pools.hpp"

namespace orrery {

void add_migration(const Scenario& s, Deployment& d) {
  if (s.migration.policy == "off") return;
  if (has_pools(s)) {
    throw ConfigError("migration: between replicas that prefill and replicas that decode it is not modelled",
                      "no --migration, or --replicas", ExitCode::usage);
  }
  if (d.replicas() < 2) {
    throw ConfigError(fmt::format("migration '{}' needs replicas to go to, found 1", s.migration.policy),
                      "--replicas 2", ExitCode::usage);
  }
  d.cluster.migration = MigrationConfig{s.migration, sequence_bytes(d)};
  d.cluster.migration->params.policy = Registry<MigrationPolicies>::find(s.migration.policy).name;
  const int gpus = place_replicas(d, 0);
  const std::vector<ServerGroup> groups{server_group(d, gpus)};
  d.cluster.fabric = {std::make_shared<ClusterTopology>(groups, load_network(s.pools.network)),
                      choose_flows(s, d.warnings)};
}

}  // namespace orrery
