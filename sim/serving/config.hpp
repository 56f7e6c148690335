#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "cost/kv_blocks.hpp"
#include "serving/decoder.hpp"
#include "serving/kv_tiers.hpp"
#include "serving/queue_policy.hpp"

namespace orrery {

/// Scheduler settings under vLLM's names; other engines' profiles map theirs onto them.
struct SchedulerConfig {
  std::string scheduler = "vllm-v1";  ///< Registry<Schedulers> ("orrery list schedulers")
  std::int64_t max_num_seqs = 256;
  Tokens max_num_batched_tokens = 8192;
  Tokens max_model_len = 131072;
  bool enable_chunked_prefill = true;
  Tokens long_prefill_token_threshold = 0;  ///< 0 = no cap on one prompt's chunk
  bool reserve_full_isl = true;             ///< admit only if the whole prompt fits the free KV blocks
  QueueParams queue;                        ///< who is served next
  bool async_scheduling = true;             ///< the next step is planned while the present one runs
  bool enable_mixed_chunk = true;           ///< SGLang: false = prefill batches stop decoding
  /// Batches in flight at once: the stages of a pipeline (vLLM v1, max_concurrent_batches). A sequence that
  /// decodes belongs to one of as many decode sets, which take turns.
  int lanes = 1;
  Decoder decoder;                       ///< how a step becomes tokens
  std::uint64_t seed = 0;                ///< of a sampled decoder's draws
  bool hands_over = false;               ///< computes prompts only: their KV blocks stay until release_held()
  std::int64_t max_queued_requests = 0;  ///< who comes when so many wait is refused; 0 = all may wait
  /// Who waits beyond the time its first token was due is refused: QueuePolicy::due().
  bool shed_overdue = false;
  /// Blocks of host memory for preempted sequences' KV, which comes back later (vLLM v0: preemption_mode
  /// swap). Who finds no room there is computed again.
  std::int64_t swap_blocks = 0;
  double new_token_ratio = 0.0;  ///< SGLang: share of the remaining output reserved at admission
  int length_buckets = 10;       ///< s3: equal classes of answer lengths up to max_model_len
};

/// KV block pool of one engine core.
struct KvConfig {
  std::int64_t blocks = 0;  ///< as logged by the engine, the reserved null block included
  int block_size = 16;      ///< tokens
  bool enable_prefix_caching = true;
  bool block_ids = false;  ///< keep each sequence's block table, for an engine that runs the plans
  std::vector<KvBlockGroup> groups{};  ///< none: one group that keeps everything, in blocks of block_size
  std::vector<KvTierConfig> tiers{};   ///< where blocks lie that the pool has no room for, the nearest first
  KvWrites tier_writes = KvWrites::through;
  Tokens tier_chunk = 0;            ///< prefixes are loaded in whole chunks of so many tokens; 0 = in blocks
  std::shared_ptr<KvTier> store{};  ///< the tier that is shared; simulate() makes it
};

/// Time between a client and the scheduler, per request. A client's TTFT includes both directions.
struct FrontEnd {
  Ps in{0};                   ///< HTTP, parsing, queue hand-over
  Ps in_per_prompt_token{0};  ///< tokenisation
  Ps out{0};                  ///< detokenise and stream back
};

}  // namespace orrery
