#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// What an engine runs on the device for a step: formats, fusion, graphs, collective backends, and the time
/// it spends around kernels. Comes from calibration/engines/<engine>/<version>.json; the device knows nothing
/// of it.
struct KernelPlan {
  Precision precision;
  Fusion fusion;

  /// CUDA-graph capture sizes, ascending. Steps of at most the largest size run padded to the next one.
  std::vector<int> graph_sizes;
  bool graph_mixed = true;  ///< steps with prefill are padded too (piecewise graphs)
  /// Time to launch one layer's kernels when no graph applies: the host is ahead of the device or bounds it.
  Seconds eager_launch_per_layer{0};

  /// Device time per layer between dependent kernels, which measurements of single kernels do not hold;
  /// graph or not.
  Seconds kernel_gap_per_layer{0};

  /// All-reduce payloads below this many bytes use the custom kernel, others NCCL; by number of ranks. (vLLM,
  /// CustomAllreduce.should_custom_ar: strictly below.)
  std::map<int, double> custom_all_reduce_max_bytes;

  /// Host time of a step. With async scheduling a step takes max(host, device) + host_exposed; without it
  /// their sum.
  bool async_scheduling = true;
  Seconds host_per_step{0};  ///< scheduling, input preparation, sampling on the CPU
  Seconds host_per_seq{0};
  Seconds host_exposed{0};          ///< the part that never overlaps
  Seconds host_exposed_prefill{0};  ///< more of it when a step holds prefill

  /// Named factors from held-out servers on kernel classes (class name -> factor), 1 when absent.
  std::map<std::string, double> class_factor;
  double sustained_gemm_factor =
      1.0;  ///< on dense kernels of steps above `sustained_tokens` tokens (power limit)
  std::int64_t sustained_tokens = 512;

  /// The number of tokens the dense kernels run on.
  std::int64_t padded(std::int64_t tokens, bool has_prefill) const;
};

/// vLLM's capture sizes up to `max`: 1, 2, 4, 8..248 by 8, 256..max by 16 (engine-version files may list
/// others).
std::vector<int> vllm_graph_sizes(int max);

}  // namespace orrery
