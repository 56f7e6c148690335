#include "des/replica.hpp"

#include "base/error.hpp"
#include "des/lockstep.hpp"
#include "des/pipeline.hpp"

namespace orrery {

void Replica::expect(const Request&, Ps) {
  throw ConfigError("this kind of replica does not take over requests from others");
}
void Replica::receive(const SequenceHandle&, const Prefilled&, Ps) {
  ORRERY_CHECK(false, "nothing was expected");
}
void Replica::release(const SequenceHandle&, Ps) {
  ORRERY_CHECK(false, "nothing was handed over");
}

std::unique_ptr<Replica> make_replica(int index, const ReplicaConfig& config, const CoreContext& context) {
  if (config.engine_cores < 1) throw ConfigError("a replica needs at least one engine core");
  if (config.pricer->shard().pp > 1) {
    if (config.scheduler.swap_blocks > 0) {
      throw ConfigError("swapping preempted sequences out of more than one pipeline stage is not modelled",
                        "--preemption-mode recompute");
    }
    if (config.scheduler.hands_over) {
      throw ConfigError(
          "prompts computed for other replicas in more than one pipeline stage are not modelled",
          "--pipeline-parallel-size 1");
    }
    if (config.engine_cores > 1) {
      throw ConfigError("data-parallel ranks of more than one pipeline stage are not modelled",
                        "--pipeline-parallel-size 1, or --replicas");
    }
    return std::make_unique<PipelineReplica>(index, config, context);
  }
  return std::make_unique<LockstepReplica>(index, config, context);
}

}  // namespace orrery
