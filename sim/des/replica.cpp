#include "des/replica.hpp"

#include "base/error.hpp"
#include "des/lockstep.hpp"

namespace orrery {

std::unique_ptr<Replica> make_replica(int index, const ReplicaConfig& config, const CoreContext& context) {
  if (config.engine_cores < 1) throw ConfigError("a replica needs at least one engine core");
  return std::make_unique<LockstepReplica>(index, config, context);
}

}  // namespace orrery
