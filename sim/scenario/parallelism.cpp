#include "scenario/parallelism.hpp"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

constexpr std::int64_t kMostReplicas = 65536;

[[noreturn]] void refuse(std::string what, std::string hint) {
  throw ConfigError(std::move(what), std::move(hint), ExitCode::usage);
}

/// Attention's ranks lie within the tensor-parallel ones: SGLang's sizes are those of the server.
void divide_attention(const Scenario& s, const ModelSpec& model, Shard& shard) {
  if (!model.has_experts()) {
    refuse(
        fmt::format("enable_dp_attention needs experts for the ranks to share, and {} is dense", model.name),
        "--replicas, or --data-parallel-size without enable_dp_attention");
  }
  const int world = s.tensor_parallel_size;
  shard.dp = s.data_parallel_size;  // 1: as without (server_args.py)
  if (world % shard.dp != 0) {
    refuse(
        fmt::format("data_parallel_size {} does not divide tensor_parallel_size {}, as enable_dp_attention "
                    "needs",
                    shard.dp, world),
        fmt::format("--data-parallel-size {}", world));
  }
  shard.tp = world / shard.dp;
}

/// Experts over ranks: all of a stage (vLLM), or a number that divides them (SGLang's and TensorRT-LLM's
/// ep_size).
int expert_ranks(const Scenario& s, const Shard& shard) {
  const int ranks = shard.tp * shard.dp;
  if (s.expert_parallel_size == 0) return s.enable_expert_parallel ? ranks : 1;
  if (ranks % s.expert_parallel_size != 0) {
    refuse(fmt::format("expert_parallel_size {} does not divide the {} ranks that share the experts",
                       s.expert_parallel_size, ranks),
           fmt::format("--expert-parallel-size {}", ranks));
  }
  return s.expert_parallel_size;
}

void check_scale(const Scenario& s, const Parallelism& p, const Topology& topology) {
  if (p.replicas < 1) {
    refuse(fmt::format("replicas must be at least 1, found {}", s.replicas), "--replicas 1");
  }
  if (std::int64_t{s.replicas} * s.data_parallel_size > kMostReplicas) {
    refuse(fmt::format("{} x {} replicas are more than the {} that can be simulated at once", s.replicas,
                       s.data_parallel_size, kMostReplicas),
           {});
  }
  if (p.shard.tp > topology.gpus_per_node) {
    refuse(fmt::format("tensor parallelism over {} GPUs crosses servers ({} holds {}), which is not modelled",
                       p.shard.tp, topology.name, topology.gpus_per_node),
           fmt::format("--tensor-parallel-size {} or less", topology.gpus_per_node));
  }
  if (p.shard.pp > 1 && (p.shard.dp > 1 || p.shard.cp > 1)) {
    refuse(fmt::format("{} pipeline stages of data- or context-parallel ranks are not modelled", p.shard.pp),
           "--pipeline-parallel-size 1");
  }
}

}  // namespace

Parallelism choose_parallelism(const Scenario& s, const ModelSpec& model, const EngineProfile& engine,
                               const Topology& topology) {
  Parallelism p;
  p.replicas = s.replicas;
  p.shard.tp = s.tensor_parallel_size;
  p.shard.pp = s.pipeline_parallel_size;
  p.shard.cp = s.prefill_context_parallel_size;
  p.shard.dcp = s.decode_context_parallel_size;
  if (s.enable_dp_attention) {
    divide_attention(s, model, p.shard);
  } else if (engine.data_parallel_lockstep && model.has_experts()) {
    p.shard.dp = s.data_parallel_size;
  } else {
    p.replicas *= s.data_parallel_size;
  }
  p.engine_cores = p.shard.dp;
  p.shard.ep = expert_ranks(s, p.shard);
  check_scale(s, p, topology);
  check_split(model, p.shard);
  return p;
}

}  // namespace orrery
