#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cost/step_pricer.hpp"
#include "des/fleet_config.hpp"
#include "events/observer.hpp"
#include "hw/cluster_topology.hpp"
#include "serving/config.hpp"
#include "serving/migration_policy.hpp"
#include "serving/router.hpp"
#include "workload/request.hpp"

namespace orrery {

/// What a replica does of a request.
enum class Role : std::uint8_t { both, prefill, decode };

/// Where a tier of KV blocks lies.
enum class KvTierPlace : std::uint8_t { host, disk, storage };

/// How an engine core gets blocks back from KvConfig::tiers, in their order.
struct KvLinks {
  struct Tier {
    KvTierPlace place = KvTierPlace::host;
    double read_bytes_per_s = 0;  ///< wire rate to an engine core; of a host, over all its GPUs
  };
  double block_bytes = 0;       ///< of a block, over all GPUs of an engine core
  double swap_bytes_per_s = 0;  ///< to and from the host, over all GPUs of an engine core
  std::vector<Tier> tiers;
};

/// One replica: an engine on its GPUs. Replicas with the same pricer share its tables.
struct ReplicaConfig {
  SchedulerConfig scheduler;
  KvConfig kv;
  FrontEnd front_end;
  std::shared_ptr<StepPricer> pricer;
  int engine_cores = 1;  ///< data-parallel ranks that make every step together, each with its own KV cache
  KvLinks kv_links;
  Role role = Role::both;
  ServingRate rate;                      ///< for routers that ask for it
  std::optional<double> usd_per_hour{};  ///< of its GPUs, where that is known
  int first_gpu = 0, gpus = 1;           ///< in FabricConfig::topology
};

/// What replicas share: the links between GPUs, hosts, drives and servers.
struct FabricConfig {
  std::shared_ptr<const ClusterTopology> topology;
  std::string flows = "simgrid";  ///< Registry<FlowModels>
};

/// How requests go on from replicas that prefill to those that decode.
struct HandoverConfig {
  std::string router = "round_robin";      ///< among the decode replicas: Registry<Routers>
  std::function<double(Tokens)> kv_bytes;  ///< that so many tokens of a sequence take, over all ranks
  int layers = 1;
  /// KV is sent layer by layer as it is computed, so that only the last layer's follows the prompt; else all
  /// of it does.
  bool overlap = true;
};

/// Sequences go on in other replicas while they decode.
struct MigrationConfig {
  MigrationParams params;
  std::function<double(Tokens)> kv_bytes;  ///< as HandoverConfig's
};

struct ClusterConfig {
  std::vector<ReplicaConfig> replicas;
  std::string router = "round_robin";  ///< Registry<Routers>; where there are such, among those that prefill
  RouterParams router_params;          ///< of this router and the one among decode replicas
  Ps router_snapshot_interval{0};      ///< routers see the replicas as they were up to so long ago
  std::optional<FabricConfig> fabric;  ///< where something moves between replicas
  /// Set, with `fabric`, where `replicas` are some that prefill, then some that decode.
  std::optional<HandoverConfig> handover;
  std::optional<FleetConfig> fleet;          ///< where replicas come and go
  std::optional<MigrationConfig> migration;  ///< set, with `fabric`, where sequences may change replicas
  std::uint64_t seed = 0;
  bool stepwise = false;  ///< the slow twin: one step at a time; bit-equal results
  Ps until = kNever;      ///< cut-off: requests not finished by then are dropped from the records
  const std::atomic<bool>* stop = nullptr;  ///< set by Ctrl-C: ends the run at the next event
};

/// What the run itself knows at its end; metrics come from observers.
struct SimulationResult {
  Ps end{0};  ///< last completion, or the cut-off
  std::int64_t requests = 0, completed = 0, failed = 0, unfinished = 0;
  std::int64_t steps = 0;   ///< engine steps simulated (a decode run counts each of its steps)
  std::int64_t events = 0;  ///< events handled
  std::int64_t preemptions = 0;
  std::int64_t prefix_hit_tokens = 0, prefix_query_tokens = 0;
  std::int64_t evicted_blocks = 0;  ///< cached KV blocks taken for something else
  std::int64_t peak_running = 0, peak_waiting = 0;
  std::int64_t kv_loads = 0;                     ///< of sequences from lower tiers
  Ps kv_load_time{0};                            ///< that they waited for those, summed
  std::int64_t swapped_out = 0, swapped_in = 0;  ///< blocks of preempted sequences
  std::vector<KvTierCounts> kv_tiers;  ///< summed over engine cores, but for what a shared one holds
  std::vector<Ps> busy;                ///< per replica: time its GPU was stepping
  bool interrupted = false;
};

/// Replays `source` through the cluster. Deterministic: same configuration, source and seed give the same
/// calls to the observers in the same order. Errors: ConfigError for settings that cannot run (zero replicas,
/// budget below max_num_seqs, unknown scheduler or router, no KV blocks).
SimulationResult simulate(const ClusterConfig& cluster, RequestSource& source,
                          std::span<Observer* const> observers);

}  // namespace orrery
