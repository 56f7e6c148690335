#pragma once

#include "cost/kv_blocks.hpp"
#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"
#include "ops/offload_policy.hpp"

namespace orrery {

/// How an engine turns device memory into KV blocks (calibration/engines: fitted to the counts real servers
/// logged).
struct MemoryPolicy {
  enum class Fraction { of_total, of_total_static, of_free };  ///< vLLM / SGLang / TensorRT-LLM meaning
  Fraction fraction_of = Fraction::of_total;
  double fraction = 0.9;       ///< gpu_memory_utilization, mem_fraction_static, free_gpu_memory_fraction
  double non_torch_bytes = 0;  ///< CUDA context, NCCL buffers
  double activation_bytes_fixed = 0;
  double activation_bytes_per_token = 0;  ///< times max_num_batched_tokens times hidden size
  int block_size = 16;
  bool hybrid_groups = true;  ///< layers that keep less than everything have groups of blocks of their own
  double activation_bytes_per_token_ffn = 0;  ///< times max_num_batched_tokens times one rank's widest FFN
  double sampler_bytes_per_vocab = 0;         ///< times the vocabulary; the sampler runs after the layers,
  double sampler_bytes_per_logit = 0;  ///< times max_num_seqs times the vocabulary; so the larger counts
  std::int64_t max_num_seqs = 0;
  double draft_weight_bytes = 0;        ///< of a model that drafts tokens, on one rank
  double draft_kv_bytes_per_token = 0;  ///< its layers share the blocks of the target's attention
  OffloadPolicy offload;                ///< what the GPU does not hold
};

struct KvCapacity {
  double weight_bytes = 0, overhead_bytes = 0, kv_bytes = 0;  ///< per GPU of the stage with the fewest blocks
  double block_bytes = 0;                                     ///< of one block of one group, on such a GPU
  double moved_block_bytes = 0;                               ///< of such a block, what lies outside the GPU
  double largest_block_bytes = 0;        ///< the same where the most layers keep something
  std::int64_t blocks = 0;               ///< as the engine logs them, the reserved null block included
  int block_size = 16;                   ///< tokens of the shortest block
  std::vector<KvBlockGroup> groups{{}};  ///< that share the blocks
  Tokens chunk = 0;                      ///< new tokens of a prompt in one step, at most

  /// Every layer keeps every token.
  bool keeps_everything() const;
  /// Tokens by which a sequence of any length grows for each further block; 0 = it does not grow for ever.
  int growing_block() const;
  bool holds_tokens() const;  ///< false: nothing but states, so that capacity is a number of sequences
  /// Usable tokens as engines log them: as if every group kept everything. 0 where nothing is kept by token.
  std::int64_t tokens() const;
  /// The longest sequence, up to `limit` tokens, that fits alone.
  Tokens longest(Tokens limit) const;
  /// How many sequences of so many tokens fit at once, at most ("maximum concurrency" in vLLM's log).
  double concurrency(Tokens tokens) const;
};

/// Each pipeline stage has memory of its own, and all have as many blocks as the one that has the fewest
/// (vLLM, kv_cache_utils.py: get_kv_cache_configs). Groups are those of the whole model.
/// What is offloaded leaves room: weights, but for two layers' loads on their way where loading overlaps, and
/// the share of each block that lies elsewhere.
/// Errors: ConfigError (infeasible) naming weights, budget and the smallest split or format that fits.
KvCapacity kv_capacity(const ModelSpec& model, const LoweringContext& ctx, const DeviceProfile& device,
                       const MemoryPolicy& policy, Tokens max_num_batched_tokens, Tokens max_model_len);

}  // namespace orrery
