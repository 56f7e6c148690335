#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/sourced.hpp"
#include "cost/capacity.hpp"
#include "cost/kernel_plan.hpp"
#include "hw/device_profile.hpp"
#include "serving/config.hpp"

namespace orrery {

/// What an engine runs with once its defaults for a device are resolved; keys are vLLM's argument names.
/// Change a field to override it, and `origin` beside it, before asking the profile for plans.
struct EngineSettings {
  std::int64_t max_num_seqs = 0;
  Tokens max_num_batched_tokens = 0;
  double gpu_memory_utilization = 0;  ///< of what, see MemoryPolicy::Fraction
  int block_size = 16;
  bool enable_prefix_caching = true;
  bool enable_chunked_prefill = true;
  bool scheduler_reserve_full_isl = true;
  Tokens long_prefill_token_threshold = 0;
  std::string scheduling_policy = "fcfs";
  bool async_scheduling = true;
  bool enable_mixed_chunk = true;
  double new_token_ratio = 0;
  int max_cudagraph_capture_size = 0;
  bool capture_size_given = false;         ///< the user chose it: max_num_seqs does not bound it
  bool enforce_eager = false;              ///< no CUDA graphs
  bool disable_custom_all_reduce = false;  ///< NCCL for every size
  /// "engine default vllm@0.15.1 (>=70 GiB, not a100)" by key, for `config show --origin`.
  std::map<std::string, std::string> origin;
};

/// Defaults that hold on some devices only, in the order they are tried.
struct DeviceClass {
  std::string name;                           ///< ">=70 GiB, not a100"
  double memory_at_least_bytes = 0;           ///< of the device
  std::vector<std::string> architectures;     ///< any when empty
  std::vector<std::string> excluded_devices;  ///< devices whose name starts so are not in the class
  std::map<std::string, Json> settings;
  bool holds(const DeviceProfile& device) const;
};

/// Time an engine spends outside kernels, as its version file states it.
struct EngineOverheads {
  double host_per_step_ms = 0, host_per_seq_us = 0;
  double host_exposed_ms = 0, host_exposed_prefill_ms = 0;
  double eager_launch_per_layer_us = 0;
  double kernel_gap_per_layer_us = 0;
  double fp8_kv_attention_factor = 1;  ///< on decode attention, beside the device's own factor
  double frontend_in_ms = 0, frontend_in_per_prompt_token_us = 0, frontend_out_ms = 0;
  double sustained_gemm_factor = 1;
  std::int64_t sustained_tokens = 512;
};

/// One version of a serving engine, from calibration/engines/<engine>/<version>.json: data, no behaviour of
/// its own. The scheduler it names holds the behaviour.
struct EngineProfile {
  std::string engine, version;  ///< "vllm", "0.15.1"
  std::string scheduler;        ///< Registry<Schedulers>
  std::string path;
  std::vector<DeviceClass> classes;
  std::map<std::string, Json> settings;  ///< on every device, unless its class says otherwise
  std::vector<int> graph_sizes;          ///< ascending, up to the largest the engine ever captures
  double graph_sequences_factor = 1;     ///< captured up to this many times max_num_seqs
  bool graph_mixed = true;
  int nvlink_only_above_ranks = 2;  ///< custom all-reduce needs NVLink (or a mesh) beyond this many ranks
  std::map<std::string, std::map<int, double>> custom_all_reduce_max_bytes;  ///< by architecture, or "other"
  Fusion fusion;
  EngineOverheads overheads;
  std::map<std::string, double> class_factor;
  MemoryPolicy memory;
  bool fp8_weights_bring_fp8_kv = false;    ///< kv_cache_dtype auto: FP8 checkpoints state an FP8 KV cache
  bool data_parallel_lockstep = false;      ///< data-parallel ranks of a model with experts step together
  bool attention_dp_shares_budget = false;  ///< enable_dp_attention divides the budgets among its ranks
  /// Standard deviation of log(predicted / measured) that servers not fitted on show beyond their kernels.
  double log_sigma = 0.1;
  /// Runs of measured servers that overheads were fitted on, "<set>/<run>" with '*' (validate_servers.hpp).
  std::vector<std::string> fitted_on;
  std::vector<SourcedFigure> figures;  ///< every figure with its source

  std::string id() const { return engine + "@" + version; }
  /// The engine's defaults on `device`, with the origin of each.
  EngineSettings settings_for(const DeviceProfile& device) const;
  KernelPlan kernel_plan(const EngineSettings& s, const DeviceProfile& device,
                         const Precision& precision) const;
  MemoryPolicy memory_policy(const EngineSettings& s) const;
  SchedulerConfig scheduler_config(const EngineSettings& s, Tokens max_model_len) const;
  KvConfig kv_config(const EngineSettings& s, const KvCapacity& kv) const;
  FrontEnd front_end() const;
};

/// Loads "vllm@0.15.1", "vllm@0.15" (its newest patch), "vllm" (the engine's default version) or the path of
/// a version file. Errors: ConfigError naming the known engines or versions.
EngineProfile load_engine(const std::string& name);

struct EngineListing {
  std::string name, help, default_version;
  std::vector<std::string> versions;  ///< ascending
};
std::vector<EngineListing> list_engines();

}  // namespace orrery
