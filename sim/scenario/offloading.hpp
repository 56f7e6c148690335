#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cost/capacity.hpp"
#include "cost/offload_cost.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// What a scenario keeps outside device memory, with the computer it is kept in. `n_gpu_layers` is
/// llama.cpp's argument, `percent` FlexGen's; `cpu_offload_gb` vLLM's and SGLang's, whose kernels read those
/// weights over the link when they need them: nothing overlaps (vLLM, model_executor/models/utils.py:
/// maybe_offload_to_cpu). Errors: ConfigError naming the argument, where it contradicts another one, a split,
/// or what the host has.
Offload choose_offload(const Scenario& scenario, const ModelSpec& model, const LoweringContext& ctx,
                       const Topology& topology);

/// Limits KV blocks to what the host, and its drives, have room for beside weights. Errors: ConfigError
/// (infeasible) when weights, or one sequence of `max_model_len`, do not fit there.
void fit_host(const Offload& offload, const ModelSpec& model, const LoweringContext& ctx,
              Tokens max_model_len, KvCapacity& kv);

/// FlexGen's six numbers: percent of weights, KV cache and activations on the GPU and in host memory each,
/// the rest on disk. Errors: ConfigError (usage).
OffloadPolicy parse_percent(std::string_view text);
/// Errors: ConfigError naming the key, its value and what is valid.
OffloadPolicy parse_offload_config(std::string_view json);

/// "weights 50 % in the host's memory; loads overlap; host dual-xeon-8480c", one line; "" without offloading.
std::string describe(const Offload& offload);

}  // namespace orrery
