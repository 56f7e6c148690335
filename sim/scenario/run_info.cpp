#include "scenario/run_info.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "scenario/mixed_replicas.hpp"
#include "scenario/parallelism.hpp"
#include "workload/request_list.hpp"

namespace orrery {

bool is_builtin(const std::string& trace) {
  return trace.rfind("builtin:", 0) == 0;
}

namespace {

std::string workload_name(const WorkloadSpec& w) {
  if (w.list) return "recorded requests";
  if (w.trace.empty()) {
    if (w.prefix.groups > 0) return "shared prefixes";
    if (w.sessions.turns > 0) return "sessions";
    if (!w.input.distribution.empty()) return "a synthetic workload";
    return fmt::format("{} in / {} out", w.random_input_len, w.random_output_len);
  }
  return is_builtin(w.trace) ? w.trace.substr(8) : std::filesystem::path(w.trace).filename().string();
}

/// "h100+l40s", "tp1 + tp4"; GPUs and their mean price.
void describe_mixed(const Deployment& d, RunInfo& info) {
  double usd = 0;
  bool priced = true;
  info.gpu.clear(), info.parallelism.clear();
  const StepPricer* last = nullptr;
  for (const ReplicaConfig& replica : d.cluster.replicas) {
    const Shard& shard = replica.pricer->shard();
    info.gpus += shard.gpus();
    usd += replica.usd_per_hour.value_or(0), priced &= replica.usd_per_hour.has_value();
    if (replica.pricer.get() == last) continue;
    last = replica.pricer.get();
    const std::string& gpu = last->device().name;
    info.gpu += (info.gpu.empty() ? "" : "+") + gpu.substr(0, gpu.find('-'));
    info.parallelism += (info.parallelism.empty() ? "" : " + ") + name(shard);
  }
  info.usd_per_gpu_hour = priced ? std::optional(usd / info.gpus) : std::nullopt;
}

}  // namespace

RunInfo run_info(const Scenario& s, const Deployment& d) {
  RunInfo info;
  info.backend = d.engine.engine;
  info.engine = d.engine.id();
  info.model_id = s.model;
  info.gpu = d.device.name;
  info.workload = workload_name(s.workload);
  info.gpus_per_replica = d.lowering.shard.gpus();
  info.replicas = d.replicas();
  info.parallelism = name(d.lowering.shard);
  if (d.cluster.fleet && !d.cluster.fleet->remeshings.empty()) info.replicas = d.cluster.fleet->initial;
  if (d.cluster.handover) {
    for (const ReplicaConfig& replica : d.cluster.replicas) info.gpus += replica.gpus;
    info.parallelism += " prefill, " + name(d.cluster.replicas.back().pricer->shard()) + " decode";
  }
  if (s.workload.num_prompts > 0) info.num_prompts = s.workload.num_prompts;
  const bool own_times = !s.workload.trace.empty() || (s.workload.list && s.workload.list->timed);
  if (!own_times) {
    info.request_rate = s.workload.request_rate;
    info.burstiness = s.workload.burstiness;
  }
  if (s.workload.max_concurrency > 0) info.max_concurrency = s.workload.max_concurrency;
  info.max_num_seqs = d.settings.max_num_seqs;
  info.kv_capacity_tokens = d.kv.tokens() * d.cluster.replicas.front().engine_cores;
  if (!d.kv.keeps_everything()) {
    info.max_model_len = d.max_model_len;
    info.kv_max_concurrency = d.kv.concurrency(d.max_model_len);
  }
  info.usd_per_gpu_hour = s.gpu_hour_usd ? s.gpu_hour_usd : d.device.usd_per_hour;
  if (has_mixed_replicas(s)) describe_mixed(d, info);
  return info;
}

}  // namespace orrery
