#pragma once

#include <cstdint>
#include <vector>

#include "workload/request.hpp"

namespace orrery {

/// Slot of a sequence in its scheduler; stable while the sequence lives.
using SeqIndex = std::int32_t;
inline constexpr SeqIndex kNoSeq = -1;

/// What one sequence holds of the groups with one cap, as far as the prefix cache knows its blocks.
struct WindowHold {
  std::int64_t first = 0;           ///< the block `units` begins with; those before have been dropped
  std::vector<std::int32_t> units;  ///< by block: its cached unit, -1 = a private duplicate of one
  std::int64_t own_from = -1;       ///< preempted: block from which the cache remembers its own; -1 = none
};

/// What one sequence holds of the KV cache besides its private blocks, whose number follows from its length.
struct KvHold {
  std::vector<std::int32_t> units;  ///< prefix units it references, from the first token on; -1 = duplicates
  std::int64_t shared_blocks = 0;   ///< blocks of its own length that lie in those units
  std::int32_t own_from = -1;       ///< preempted: block from which the cache remembers its own; -1 = none
  std::int32_t table = -1;          ///< with KvConfig::block_ids: its block table's number; -1 = none
  std::vector<WindowHold> windows;  ///< by cap, with prefix caching
};

/// What happened to a request in the engine that had it before: computed its prompt and its first token, or
/// more of them.
struct Prefilled {
  Ps queued{0}, scheduled{kNever}, first_token{kNever}, last_token{0};  ///< inside the engine, as in Sequence
  Tokens cached_tokens = 0;
  std::int32_t preemptions = 0;
};

/// A request taken out of an engine before it was done, and what it has behind it.
struct Evacuated {
  Request request;
  Tokens delivered = 0;  ///< tokens of its answer that its client has
  Tokens stored = 0;     ///< tokens whose KV was in the cache
  Prefilled before;
  Ps last_token{kNever};  ///< when the client got the latest one; kNever = none yet
};

/// One request inside a scheduler. Members of the decode set keep no running state here: their progress
/// follows from the pool's step counter.
struct Sequence {
  enum class State : std::uint8_t { free, waiting, loading, prefilling, decoding, draining };

  Request request;
  Tokens target = 0;     ///< tokens to compute before its next token: prompt, plus generated if preempted
  Tokens computed = 0;   ///< tokens scheduled so far while waiting or prefilling
  Tokens generated = 0;  ///< tokens generated when it last left the decode set
  Tokens joined = 0;     ///< the pool's clock when it joined the decode set
  Tokens kept = 0;       ///< tokens whose KV stays in its blocks while it waits, paused
  Tokens swapped = 0;    ///< tokens whose KV lies in swap space
  Tokens hit = 0;        ///< of `computed`, those that were there when a load began
  std::uint32_t generation = 0;  ///< tells stale heap entries of a reused slot
  State state = State::free;
  bool kv_to_come = false;   ///< another engine computed its prompt: waits for blocks, then for their content
  bool decoded = false;      ///< preempted last from a decode set, not while its prompt was computed
  bool entering = false;     ///< admitted for a load, its first chunk is still to come
  bool holds_ahead = false;  ///< has KV blocks for drafted tokens beside its own
  std::int16_t lane = 0;     ///< of its decode set
  std::int64_t last_plan = 0;  ///< number of the plan that has its latest prompt chunk, or had it preempted
  KvHold hold;
  SeqIndex before = kNoSeq, after = kNoSeq;  ///< running list, in order of admission

  Tokens cached_tokens = 0;  ///< prefix hit at first admission
  std::int32_t preemptions = 0;
  Ps queued{0}, scheduled{kNever}, first_token{kNever}, last_token{kNever};
};

}  // namespace orrery
