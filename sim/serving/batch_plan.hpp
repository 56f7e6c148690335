#pragma once

#include <vector>

#include "ops/batch_shape.hpp"
#include "ops/decode_set.hpp"
#include "serving/kv_tiers.hpp"
#include "serving/sequence.hpp"

namespace orrery {

/// A prompt chunk of one sequence in a step.
struct ScheduledChunk {
  SeqIndex seq = kNoSeq;
  PrefillChunk tokens;
  bool last = false;  ///< the prompt ends here: a token comes with this step
};

/// A member of a step's decode set: it computes one token, at position `context`, and attends to context + 1.
struct DecodeMember {
  SeqIndex seq = kNoSeq;
  Tokens context = 0;  ///< tokens stored in the KV cache before the step
};

/// KV that a sequence waits for before it can go on: blocks are there for it.
struct ScheduledLoad {
  SeqIndex seq = kNoSeq;
  KvLoad from;
};

/// What one engine step computes: the decode set by reference (aggregates, as it was before the step), prompt
/// chunks, and what the decision moved. Sequences leave the decode set in the plan that computes their last
/// token.
struct BatchPlan {
  DecodeSet decode;
  int lane = 0;  ///< whose decode set this is, and whom the prompts that end here join
  std::vector<ScheduledChunk> chunks;
  std::vector<SeqIndex> admitted, preempted;
  std::vector<SeqIndex> reserved;    ///< got the blocks that their KV, computed elsewhere, is to be sent to
  std::vector<ScheduledLoad> loads;  ///< begin with this decision
  std::vector<SeqIndex> finishing;   ///< their last token comes with this step; freed when it is complete
  std::vector<SeqIndex> departing;  ///< their last token here does; their blocks are held when it is complete
  std::int64_t prefill_tokens = 0;
  std::int64_t swapped_out = 0;  ///< blocks that preempted sequences leave to the host before it begins
  Tokens decode_tokens = 0;      ///< that the decode set gains, but for what finishing ones did not ask for

  bool empty() const { return decode.seqs == 0 && chunks.empty(); }
  void clear() {
    decode = {}, lane = 0;
    chunks.clear(), admitted.clear(), preempted.clear(), reserved.clear(), loads.clear(), finishing.clear(),
        departing.clear();
    prefill_tokens = 0, swapped_out = 0, decode_tokens = 0;
  }
};

}  // namespace orrery
