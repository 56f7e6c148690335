#include "scenario/deployment.hpp"
#include "scenario/settings.hpp"

namespace orrery {

namespace {

/// Values in force that a scenario leaves to the engine, the model or the capacity computation.
std::map<std::string, ResolvedValue> decided(const Deployment& d) {
  std::map<std::string, ResolvedValue> out;
  const auto& e = d.settings;
  const auto engine = [&](const char* name, Json value) {
    const auto it = e.origin.find(name);
    out[name] = {name, "", std::move(value), it == e.origin.end() ? "engine " + d.engine.id() : it->second};
  };
  engine("max_num_seqs", e.max_num_seqs);
  engine("max_num_batched_tokens", e.max_num_batched_tokens);
  engine("gpu_memory_utilization", e.gpu_memory_utilization);
  engine("block_size", e.block_size);
  engine("enable_prefix_caching", e.enable_prefix_caching);
  engine("enable_chunked_prefill", e.enable_chunked_prefill);
  engine("scheduler_reserve_full_isl", e.scheduler_reserve_full_isl);
  engine("long_prefill_token_threshold", e.long_prefill_token_threshold);
  engine("scheduling_policy", e.scheduling_policy);
  engine("async_scheduling", e.async_scheduling);
  engine("enable_mixed_chunk", e.enable_mixed_chunk);
  engine("max_cudagraph_capture_size", e.max_cudagraph_capture_size);
  out["max_model_len"] = {"max_model_len", "", d.max_model_len, "config.json of " + d.model.name};
  out["num_gpu_blocks_override"] = {"num_gpu_blocks_override", "", d.kv.blocks, "computed from memory"};
  return out;
}

}  // namespace

std::vector<ResolvedValue> resolved_values(const Scenario& s, const Deployment* d) {
  std::map<std::string, ResolvedValue> engine;
  if (d) engine = decided(*d);
  std::vector<ResolvedValue> out;
  for (const auto& setting : settings()) {
    const auto given = s.origin.find(setting.name);
    ResolvedValue v{setting.name, setting.section, setting.get(s),
                    given == s.origin.end() ? "default" : given->second};
    const auto it = engine.find(setting.name);
    if (it != engine.end() && (v.value.is_null() || given == s.origin.end())) {
      v.value = it->second.value;
      v.origin = it->second.origin;
    }
    if (setting.name == "engine" && d && !s.engine.ends_with(".json")) v.value = d->engine.id();
    out.push_back(std::move(v));
  }
  return out;
}

}  // namespace orrery
