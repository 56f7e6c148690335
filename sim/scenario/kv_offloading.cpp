#include "scenario/kv_offloading.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/deployment.hpp"

namespace orrery {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr double kGb = 1e9;
constexpr Tokens kLmcacheChunk = 256;  ///< LMCache's chunk_size

KvWrites writes_of(const std::string& policy) {
  if (policy == "write_back") return KvWrites::back;
  return policy == "write_through_selective" ? KvWrites::selective : KvWrites::through;
}

/// Bytes of the host's memory that one engine core's blocks may take. SGLang's sizes are those of one rank,
/// its ratio is to the GPU's own cache (server_args.py: hicache_size overrides hicache_ratio).
double host_bytes(const KvOffloading& o, double pool_bytes, int gpus) {
  if (!o.enable_hierarchical_cache) return o.kv_offloading_size * kGib;
  return o.hicache_size > 0 ? o.hicache_size * kGb * gpus : o.hicache_ratio * pool_bytes;
}

void check(const KvOffloading& o) {
  if (o.enable_hierarchical_cache && o.kv_offloading_size > 0) {
    throw ConfigError("kv_offloading_size and enable_hierarchical_cache are two engines' names for one tier",
                      "one of the two", ExitCode::usage);
  }
}

}  // namespace

bool offloads_kv(const Scenario& s) {
  const KvOffloading& o = s.kv_offloading;
  return o.enable_hierarchical_cache || o.kv_offloading_size > 0 || o.disk_size > 0 || o.remote_size > 0;
}

NetworkProfile network_of(const Scenario& s) {
  NetworkProfile network = load_network(s.pools.network);
  if (s.kv_offloading.disk_bandwidth > 0)
    network.disk_read_bytes_per_s = s.kv_offloading.disk_bandwidth * kGb;
  if (s.kv_offloading.remote_bandwidth > 0)
    network.storage_bytes_per_s = s.kv_offloading.remote_bandwidth * kGb;
  return network;
}

void choose_tiers(const Scenario& s, const Deployment& d, ReplicaConfig& replica) {
  const KvOffloading& o = s.kv_offloading;
  const bool swaps = o.preemption_mode == "swap";
  if (!offloads_kv(s) && !swaps) return;
  check(o);
  const NetworkProfile network = network_of(s);
  const int gpus = d.lowering.shard.gpus() / replica.engine_cores;
  const double block_bytes = d.kv.block_bytes * gpus;
  replica.kv_links.block_bytes = block_bytes;
  replica.kv_links.swap_bytes_per_s = d.device.pcie_bytes_per_s * gpus;
  if (swaps) {
    replica.scheduler.swap_blocks = static_cast<std::int64_t>(o.swap_space * kGib * gpus / block_bytes);
  }
  replica.kv.tier_writes = writes_of(o.hicache_write_policy);
  if (o.kv_offloading_backend == "lmcache") replica.kv.tier_chunk = kLmcacheChunk;
  const auto add = [&](const char* name, KvTierPlace place, double bytes, double bytes_per_s, bool shared) {
    if (bytes <= 0) return;
    replica.kv.tiers.push_back({name, static_cast<std::int64_t>(bytes / block_bytes), shared});
    replica.kv_links.tiers.push_back({place, bytes_per_s});
  };
  const double pcie = d.device.pcie_bytes_per_s * gpus;
  const double pool_bytes = static_cast<double>(d.kv.blocks) * block_bytes;
  add("host", KvTierPlace::host, host_bytes(o, pool_bytes, gpus), pcie, false);
  add("disk", KvTierPlace::disk, o.disk_size * kGib, std::min(pcie, network.disk_read_bytes_per_s), false);
  add("remote", KvTierPlace::storage, o.remote_size * kGib, std::min(pcie, network.storage_bytes_per_s),
      true);
}

std::optional<OffloadingReport> offloading_report(const Deployment& d, const SimulationResult& r) {
  if (r.kv_tiers.empty() && d.cluster.replicas.front().scheduler.swap_blocks == 0) return std::nullopt;
  OffloadingReport out;
  const ReplicaConfig& replica = d.cluster.replicas.front();
  const double block_bytes = replica.kv_links.block_bytes;
  for (const KvTierCounts& counts : r.kv_tiers) {
    OffloadingReport::Tier tier;
    tier.name = counts.name;
    tier.read_bytes = static_cast<double>(counts.read) * block_bytes;
    tier.written_bytes = static_cast<double>(counts.written) * block_bytes;
    tier.evicted_bytes = static_cast<double>(counts.evicted) * block_bytes;
    if (r.prefix_query_tokens > 0) {
      tier.hit_share = static_cast<double>(counts.read * replica.kv.block_size) /
                       static_cast<double>(r.prefix_query_tokens);
    }
    out.tiers.push_back(std::move(tier));
  }
  out.swapped_out_bytes = static_cast<double>(r.swapped_out) * block_bytes;
  out.swapped_in_bytes = static_cast<double>(r.swapped_in) * block_bytes;
  out.loads = r.kv_loads;
  if (r.kv_loads > 0) out.mean_load_ms = to_ms(r.kv_load_time) / static_cast<double>(r.kv_loads);
  return out;
}

OrderedJson to_json(const OffloadingReport& r) {
  OrderedJson tiers = OrderedJson::array();
  for (const OffloadingReport::Tier& t : r.tiers) {
    tiers.push_back({{"name", t.name},
                     {"hit_share", t.hit_share},
                     {"read_bytes", t.read_bytes},
                     {"written_bytes", t.written_bytes},
                     {"evicted_bytes", t.evicted_bytes}});
  }
  return {{"tiers", tiers},
          {"swapped_out_bytes", r.swapped_out_bytes},
          {"swapped_in_bytes", r.swapped_in_bytes},
          {"loads", r.loads},
          {"mean_load_ms", r.mean_load_ms}};
}

}  // namespace orrery
