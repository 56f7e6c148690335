#pragma once

#include <string>

#include "model/model_spec.hpp"
#include "ops/expert_plan.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// The scenario's arguments about experts (enable_eplb, num_redundant_experts, all2all_backend) over what the
/// engine does. Errors: ConfigError naming the argument where it needs experts, or expert parallelism, or
/// copies that the ranks do not divide.
void override_experts(const Scenario& scenario, const ModelSpec& model, const Shard& shard, ExpertPlan& plan);

/// What a backend for the exchange of rows between ranks means to a plan (vLLM's --all2all-backend, SGLang's
/// --moe-a2a-backend). Errors: ConfigError (usage) with the names that are known.
void choose_all2all(const std::string& backend, ExpertPlan& plan);

}  // namespace orrery
