#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "serving/migration_policy.hpp"
#include "serving/router.hpp"
#include "workload/source.hpp"

namespace orrery {

/// Replicas that prefill and replicas that decode, instead of ones that do both. "" and 0: as the scenario
/// says for all.
struct PoolSettings {
  std::int32_t prefill_replicas = 0, decode_replicas = 0;
  std::string prefill_gpu, decode_gpu;
  std::int32_t prefill_tensor_parallel_size = 0, decode_tensor_parallel_size = 0;
  std::string decode_router;
  std::string kv_transfer = "overlapped";
  std::string fabric = "auto";
  std::string network = "rail-fat-tree";
  std::string mixed_replicas;  ///< replicas of several devices behind one router, see mixed_replicas.hpp
};

/// Replicas that come and go. Lists as they are written: see fleet.hpp.
struct FleetSettings {
  std::string failures, drain, autoscale;
  double mtbf_s = 0, mttr_s = 600;
  std::string retry = "resume";
  std::int32_t max_retries = 3;
  double retry_delay_s = 0;
  std::string meshes;  ///< splits that follow one another
  std::string spot_policy = "migrate";
  double grace_period_s = 30;
  std::optional<double> migration_bandwidth;  ///< bytes per second into a GPU; unset: its network card's
  double instance_boot_s = 120, image_pull_s = 60;  ///< assumed
  double graph_capture_s = 34;  ///< "init engine took 34.11 seconds", compiled before: vLLM issue 20264
  std::optional<double> weights_bandwidth;  ///< bytes per second into one replica; unset: the network's
};

/// What lies outside device memory (offloading.hpp). "" and nothing: all on the GPU; the node's own host.
struct OffloadSettings {
  double cpu_offload_gb = 0;
  std::optional<std::int64_t> n_gpu_layers;
  std::string percent;  ///< six numbers
  std::string config;   ///< JSON
  std::string host;
};

/// Where KV blocks go that the GPUs' memory has no room for: vLLM's and SGLang's names, and tiers behind
/// those. Rates of 0: those of the network.
struct KvOffloading {
  double kv_offloading_size = 0;  ///< GiB, of an engine core
  std::string kv_offloading_backend = "native";
  double disk_size = 0, remote_size = 0;            ///< GiB; of the remote tier, for all replicas
  double disk_bandwidth = 0, remote_bandwidth = 0;  ///< GB/s
  bool enable_hierarchical_cache = false;
  double hicache_ratio = 2, hicache_size = 0;  ///< GB per GPU
  std::string hicache_write_policy = "write_through";
  std::string preemption_mode = "recompute";
  double swap_space = 4;  ///< GiB per GPU
};

/// A question to the simulator: which model on which hardware under which engine, and who asks what of it.
/// Engine arguments that are not set take the defaults of that engine version on that device.
/// Names are vLLM's; other engines' arguments are mapped onto them.
struct Scenario {
  std::string model;  ///< built-in name or path
  std::string gpu;    ///< device name, alias or path
  std::string cost_model = "auto";
  std::string engine = "vllm";  ///< "vllm" or "vllm@0.15.1"

  std::int32_t tensor_parallel_size = 1;
  std::int32_t pipeline_parallel_size = 1;
  std::int32_t data_parallel_size = 1;
  std::int32_t prefill_context_parallel_size = 1;
  std::int32_t decode_context_parallel_size = 1;
  std::int32_t replicas = 1;
  std::string router = "round_robin";
  RouterParams router_params;  ///< of router weighted
  double router_snapshot_interval_s = 0;
  PoolSettings pools;
  FleetSettings fleet;
  MigrationParams migration{.policy = "off"};  ///< its `fabric` and `network` are those of pools
  OffloadSettings offloading;

  std::string dtype = "auto";
  std::string quantization = "auto";
  std::string kv_cache_dtype = "auto";
  std::optional<std::int64_t> max_model_len;
  std::optional<std::int64_t> max_num_seqs;
  std::optional<std::int64_t> max_num_batched_tokens;
  std::optional<std::int64_t> block_size;
  std::optional<double> gpu_memory_utilization;
  std::optional<std::int64_t> num_gpu_blocks_override;
  std::optional<std::int64_t> kv_cache_memory_bytes;
  std::optional<bool> enable_prefix_caching;
  std::optional<bool> enable_chunked_prefill;
  std::optional<std::int64_t> long_prefill_token_threshold;
  std::optional<bool> scheduler_reserve_full_isl;
  std::optional<std::string> scheduling_policy;
  double length_prediction_error = 0;  ///< of scheduling_policy sjf and of scheduler s3
  std::int32_t length_buckets = 10;    ///< of s3
  std::vector<double> deadlines_s;     ///< of edf, by priority
  bool shed_overdue = false;           ///< edf: who waits beyond its deadline is refused
  std::int64_t max_queued_requests = 0;
  double vtc_prompt_weight = 1, vtc_answer_weight = 2;
  std::int32_t mlfq_queues = 8;
  double mlfq_quantum_s = 0, mlfq_ratio = 2, mlfq_starvation_s = 0;
  std::optional<bool> async_scheduling;
  std::optional<bool> enable_mixed_chunk;
  std::optional<std::int64_t> max_cudagraph_capture_size;
  std::vector<std::int64_t> cudagraph_capture_sizes;
  KvOffloading kv_offloading;
  bool enforce_eager = false;
  bool disable_custom_all_reduce = false;
  bool enable_expert_parallel = false;    ///< whole experts on each rank of a replica, not parts of all
  std::int32_t expert_parallel_size = 0;  ///< of so many groups of ranks; 0 = as enable_expert_parallel says
  bool enable_dp_attention = false;       ///< data-parallel ranks lie within the tensor-parallel ones
  std::optional<bool> enable_eplb;        ///< experts lie by their load (EPLB)
  std::optional<std::int64_t> num_redundant_experts;  ///< copies more than experts, with enable_eplb
  std::string all2all_backend;                        ///< "" = the engine's, see expert_settings.hpp
  std::string speculative_config;                     ///< JSON, see speculation.hpp; "" = plain decoding

  WorkloadSpec workload;
  std::string slo;      ///< "ttft<=500ms@p99,tpot<=30ms@p99"
  double warmup_s = 0;  ///< requests arriving before this are simulated and not counted
  double until_s = 0;   ///< stop the clock here; 0 = when the last request is done
  std::uint64_t seed = 0;
  bool stepwise = false;  ///< the slow twin: every step on its own, bit-equal
  std::optional<double> gpu_hour_usd;

  Scenario() { workload.client_delay_s = 0.001; }  // closed loops: see docs of --client-delay

  /// Where each value that is not a default came from, by setting name.
  std::map<std::string, std::string> origin;
};

/// Origin of values from a pasted engine command.
inline constexpr const char* kEngineArgsOrigin = "--engine-args";

/// One value given by the user, under its setting's name (settings.hpp), as text.
struct Assignment {
  std::string name, value;
  std::string origin;  ///< "flag", "--engine-args", "scenario.json:12"
  std::string file;    ///< for errors; "" = not from a file
  long line = 0;
};
using Assignments = std::vector<Assignment>;

/// Applies assignments over the built-in defaults, later ones winning.
/// Errors: ConfigError naming the setting, and the place when it came from a file.
Scenario resolve(std::span<const Assignment> assignments);

/// Reads a scenario file (strict JSON): sections as in `orrery config show`. Errors: ConfigError with file
/// and line.
Assignments read_scenario_file(const std::string& path);

/// The same of a document in memory.
Assignments read_scenario(std::shared_ptr<const JsonDocument> document);

/// A pasted engine command (`vllm serve M --max-num-seqs 64 ...`, `python -m sglang.launch_server ...`,
/// `trtllm-serve M ...`) or its arguments alone.
struct EngineCommand {
  Assignments assignments;
  std::vector<std::string> warnings;   ///< arguments that change timing and are not modelled, or are unknown
  std::vector<std::string> no_effect;  ///< arguments that do not change timing
};
/// `engine` is assumed when the text does not name a program. Errors: ConfigError (usage) for a misspelt
/// argument or a bad value.
EngineCommand parse_engine_command(std::string_view text, std::string_view engine = "vllm");

}  // namespace orrery
