#include "scenario/pools.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/fleet.hpp"
#include "scenario/kv_offloading.hpp"
#include "scenario/parallelism.hpp"
#include "scenario/placement.hpp"

namespace orrery {
namespace {

/// What is handed over needs no prefix: no tiers.
KvOffloading swap_space_of(const KvOffloading& all) {
  KvOffloading out;
  out.preemption_mode = all.preemption_mode, out.swap_space = all.swap_space;
  return out;
}

/// What one pool would be by itself.
Scenario pool_scenario(const Scenario& s, Role role) {
  const bool prefill = role == Role::prefill;
  Scenario pool = s;
  pool.pools = {};
  pool.migration.policy = "off";
  pool.replicas = prefill ? s.pools.prefill_replicas : s.pools.decode_replicas;
  const std::string& gpu = prefill ? s.pools.prefill_gpu : s.pools.decode_gpu;
  if (!gpu.empty()) pool.gpu = gpu;
  const std::int32_t tp =
      prefill ? s.pools.prefill_tensor_parallel_size : s.pools.decode_tensor_parallel_size;
  if (tp > 0) pool.tensor_parallel_size = tp;
  if (!prefill) pool.max_queued_requests = 0;  // whoever was let in to prefill is let in to decode
  if (!prefill && !s.pools.decode_router.empty()) pool.router = s.pools.decode_router;
  if (!prefill) pool.kv_offloading = swap_space_of(s.kv_offloading);
  return pool;
}

/// Gives a pool its GPUs from `first` on. Returns how many it takes.
int place(Deployment& pool, Role role, int first) {
  for (ReplicaConfig& replica : pool.cluster.replicas) {
    replica.role = role;
    replica.scheduler.hands_over = role == Role::prefill;
  }
  return place_replicas(pool, first);
}

}  // namespace

bool has_pools(const Scenario& s) {
  return s.pools.prefill_replicas > 0 || s.pools.decode_replicas > 0;
}

Deployment deploy_pools(const Scenario& s) {
  if (s.pools.prefill_replicas < 1 || s.pools.decode_replicas < 1) {
    throw ConfigError(fmt::format("{} replicas prefill and {} decode: it takes both",
                                  s.pools.prefill_replicas, s.pools.decode_replicas),
                      "--prefill-replicas 1 --decode-replicas 1", ExitCode::usage);
  }
  if (has_fleet(s)) {
    throw ConfigError("replicas that prefill for others do not come and go: it is not modelled",
                      "--replicas, without failures, drains and autoscaling", ExitCode::usage);
  }
  Deployment d = deploy(pool_scenario(s, Role::prefill));
  Deployment decode = deploy(pool_scenario(s, Role::decode));
  const DType sent = d.lowering.precision.kv_cache, taken = decode.lowering.precision.kv_cache;
  if (sent != taken) {
    throw ConfigError(fmt::format("the pools' KV caches differ: {} on {}, {} on {}", name(sent),
                                  d.device.name, name(taken), decode.device.name),
                      "--kv-cache-dtype bfloat16");
  }
  // One device and one split: one set of price tables.
  if (d.device.name == decode.device.name && name(d.lowering.shard) == name(decode.lowering.shard)) {
    for (ReplicaConfig& replica : decode.cluster.replicas) replica.pricer = d.cluster.replicas.front().pricer;
  }
  const int prefill_gpus = place(d, Role::prefill, 0);
  const int whole =
      (prefill_gpus + d.topology.gpus_per_node - 1) / d.topology.gpus_per_node * d.topology.gpus_per_node;
  const int decode_gpus = place(decode, Role::decode, whole);
  const std::vector<ServerGroup> groups{server_group(d, whole), server_group(decode, decode_gpus)};
  d.cluster.fabric = {std::make_shared<ClusterTopology>(groups, network_of(s)), choose_flows(s, d.warnings)};
  HandoverConfig handover;
  handover.router = decode.cluster.router;
  handover.layers = d.model.layers();
  handover.overlap = s.pools.kv_transfer == "overlapped";
  handover.kv_bytes = sequence_bytes(d);
  d.cluster.handover = handover;
  d.cluster.replicas.insert(d.cluster.replicas.end(), decode.cluster.replicas.begin(),
                            decode.cluster.replicas.end());
  for (const auto& warning : decode.warnings) {
    if (std::find(d.warnings.begin(), d.warnings.end(), warning) == d.warnings.end())
      d.warnings.push_back(warning);
  }
  return d;
}

PoolsReport pools_report(const Deployment& d, const SimulationResult& result, const TransferSummary& moved) {
  PoolsReport out;
  out.fabric = d.cluster.fabric->flows;
  out.transfers = moved;
  for (int i = 0; i < d.replicas(); ++i) {
    const ReplicaConfig& replica = d.cluster.replicas[static_cast<std::size_t>(i)];
    PoolsReport::Pool& pool = replica.role == Role::decode ? out.decode : out.prefill;
    ++pool.replicas;
    pool.gpus += replica.gpus;
    pool.gpu = replica.pricer->device().name;
    if (result.end > Ps(0)) {
      pool.utilisation += to_seconds(result.busy[static_cast<std::size_t>(i)]) / to_seconds(result.end);
    }
  }
  for (PoolsReport::Pool* pool : {&out.prefill, &out.decode})
    pool->utilisation /= std::max(1, pool->replicas);
  return out;
}

OrderedJson to_json(const PoolsReport& r) {
  const auto pool = [](const PoolsReport::Pool& p) {
    return OrderedJson{
        {"replicas", p.replicas}, {"gpus", p.gpus}, {"gpu", p.gpu}, {"utilisation", p.utilisation}};
  };
  return {{"prefill", pool(r.prefill)},
          {"decode", pool(r.decode)},
          {"fabric", r.fabric},
          {"transfers", to_json(r.transfers)}};
}

std::string replica_name(const Deployment& d, int index) {
  const ReplicaConfig& replica = d.cluster.replicas[static_cast<std::size_t>(index)];
  const char* role = replica.role == Role::both      ? ""
                     : replica.role == Role::prefill ? "prefill, "
                                                     : "decode, ";
  return fmt::format("replica {} ({}{} {})", index, role, replica.pricer->device().name,
                     name(replica.pricer->shard()));
}

}  // namespace orrery
