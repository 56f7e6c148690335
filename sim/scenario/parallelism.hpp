#pragma once

#include <string>
#include <vector>

#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"
#include "scenario/engine_profile.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// How a scenario's GPUs are put to work: replicas, each of engine cores that step together, each over the
/// ranks of a split.
struct Parallelism {
  Shard shard;
  int engine_cores = 1;  ///< data-parallel ranks in lockstep
  int replicas = 1;      ///< behind the router
};

/// The sizes a scenario asks for, as its engine understands them. Data-parallel ranks of a model with experts
/// share these and so step together, where the engine does it (vLLM) or with enable_dp_attention (SGLang,
/// TensorRT-LLM: ranks within the tensor-parallel ones); else they are further replicas. Errors: ConfigError
/// for sizes that do not fit each other, the model or the servers.
Parallelism choose_parallelism(const Scenario& scenario, const ModelSpec& model, const EngineProfile& engine,
                               const Topology& topology);

}  // namespace orrery
