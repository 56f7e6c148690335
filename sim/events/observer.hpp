#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/units.hpp"
#include "workload/request.hpp"

namespace orrery {

/// Which engine core of which replica.
struct CoreId {
  std::int32_t replica = 0;
  std::int32_t core = 0;
};

/// Load of a core at the start of a step or run.
struct CoreLoad {
  std::int64_t running = 0, waiting = 0;
  std::int64_t kv_blocks_used = 0, kv_blocks_total = 0;
};

/// `steps` consecutive decode-only steps of an unchanged set: step j starts where j-1 ended and takes first +
/// slope * j. Each of `seqs` sequences gets one token at the end of each step.
struct DecodeRun {
  CoreId where;
  Ps start{0}, first{0}, slope{0};
  std::int64_t steps = 0;
  std::int64_t seqs = 0;
  Tokens context = 0;  ///< KV tokens they read in the first step, summed; grows by `seqs` a step
  /// `stalled_seqs` of them got their last token `stall` before `start` (a prefill-only batch came between):
  /// their first gap is first + stall.
  std::int64_t stalled_seqs = 0;
  Ps stall{0};
  CoreLoad load;
  Ps duration() const { return Ps(first.value * steps + slope.value * (steps * (steps - 1) / 2)); }
  Ps end() const { return start + duration(); }
};

/// A request's part in a mixed step.
struct ChunkEvent {
  RequestId request = 0;
  Tokens new_tokens = 0, past = 0;
  bool last = false;  ///< the prompt ends here: the first (or next) token leaves with this step
};

/// One step with prefill; `decode_seqs` sequences get a token beside it.
struct MixedStep {
  CoreId where;
  Ps start{0}, duration{0};
  std::int64_t decode_seqs = 0;
  Tokens context = 0;  ///< KV tokens those read, summed
  Tokens prefill_tokens = 0;
  std::int64_t stalled_seqs = 0;  ///< as in DecodeRun
  Ps stall{0};
  std::span<const ChunkEvent> chunks;
  CoreLoad load;
};

/// All that happened to one request, told once when it leaves. Times are simulated; `failed` ones carry a
/// reason.
struct RequestRecord {
  RequestId id = 0;
  std::int32_t replica = 0;
  std::int32_t client = -1;
  Tokens prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::int32_t preemptions = 0;
  Ps arrival{0};                  ///< the client sent it
  Ps queued{0};                   ///< the engine's scheduler could first see it (front end done)
  Ps scheduled{0};                ///< its first chunk started
  Ps first_token{0};              ///< the client saw the first token
  Ps done{0};                     ///< the client saw the last token
  const char* failure = nullptr;  ///< static text, null = completed
};

/// Told what happens; changes nothing. Told of runs, never of single decode steps: one that needs steps
/// expands them.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_decode_run(const DecodeRun&) {}
  virtual void on_mixed_step(const MixedStep&) {}
  virtual void on_arrival(const Request&, CoreId) {}
  virtual void on_preemption(RequestId, CoreId, Ps) {}
  /// A sequence's first token after a preemption: the gap since its last one is no step's duration.
  virtual void on_resumed(RequestId, CoreId, Ps /*gap*/) {}
  virtual void on_request_done(const RequestRecord&) {}
  /// The last event has been told. `end` is the time of the last completion (or of the cut-off).
  virtual void on_end(Ps /*end*/) {}
};

}  // namespace orrery
