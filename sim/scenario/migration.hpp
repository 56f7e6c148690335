#pragma once

#include "scenario/deployment.hpp"

namespace orrery {

/// Lets sequences of a deployment change replicas as the scenario's `migration` says; nothing where that is
/// off. Errors: ConfigError for a single replica, or beside pools.
void add_migration(const Scenario& scenario, Deployment& deployment);

}  // namespace orrery
