#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/units.hpp"
#include "ops/decode_set.hpp"
#include "workload/request.hpp"

namespace orrery {

/// Which engine core of which replica; of a pipeline, which of the batches that it has in flight.
struct CoreId {
  std::int32_t replica = 0;
  std::int32_t core = 0;
  std::int32_t lane = 0;
};

/// Load of a core at the start of a step or run.
struct CoreLoad {
  std::int64_t running = 0, waiting = 0;
  std::int64_t kv_blocks_used = 0, kv_blocks_total = 0;
  std::int64_t kv_blocks_reserved = 0;  ///< set aside for those running, used or not; 0 where none are
  Tokens kv_tokens_unfilled = 0;        ///< slots of used blocks with no token in them
};

/// `steps` consecutive decode-only steps of an unchanged set: step j starts where j-1 ended and takes first +
/// slope * j. Each of `seqs` sequences gets a token at the end of each step, with speculation several at
/// once: that is one gap between what its client sees, as benchmarks of servers count (vllm bench serve: one
/// inter-token latency for each chunk of the stream).
struct DecodeRun {
  CoreId where;
  Ps start{0}, first{0}, slope{0};
  std::int64_t steps = 0;
  std::int64_t seqs = 0;
  Tokens context = 0;       ///< KV tokens they read in the first step, summed; grows by what they gain
  TokenPace pace{};         ///< at which each gains tokens
  Tokens extra_tokens = 0;  ///< that they get in all with the last step beside those; negative: fewer
  /// `stalled_seqs` of them got their last token `stall` before `start` (a prefill-only batch came between):
  /// their first gap is first + stall.
  std::int64_t stalled_seqs = 0;
  Ps stall{0};
  double gpu_share = 1;  ///< of its time that in which its GPUs ran it, on the mean: less in a pipeline
  CoreLoad load;
  Ps duration() const { return Ps(first.value * steps + slope.value * (steps * (steps - 1) / 2)); }
  Ps end() const { return start + duration(); }
  Tokens tokens() const { return seqs * pace.after(steps) + extra_tokens; }
  /// Tokens that the first `n` steps bring.
  Tokens tokens_by(std::int64_t n) const { return n < steps ? seqs * pace.after(n) : tokens(); }
};

/// A request's part in a mixed step.
struct ChunkEvent {
  RequestId request = 0;
  Tokens new_tokens = 0, past = 0;
  bool last = false;  ///< the prompt ends here: the first (or next) token leaves with this step
};

/// One step with prefill; `decode_seqs` sequences get a token beside it, and `extra_tokens` more in all.
struct MixedStep {
  CoreId where;
  Ps start{0}, duration{0};
  std::int64_t decode_seqs = 0;
  Tokens context = 0;  ///< KV tokens those read, summed
  Tokens extra_tokens = 0;
  Tokens prefill_tokens = 0;
  std::int64_t stalled_seqs = 0;  ///< as in DecodeRun
  Ps stall{0};
  double gpu_share = 1;
  std::span<const ChunkEvent> chunks;
  CoreLoad load;
};

/// All that happened to one request, told once when it leaves. Times are simulated; `failed` ones carry a
/// reason.
struct RequestRecord {
  RequestId id = 0;
  std::int32_t replica = 0;
  std::int32_t client = -1;
  std::int32_t priority = 0;
  Tokens prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::int32_t preemptions = 0;
  std::int32_t turn = 0;          ///< Request::turn
  Ps arrival{0};                  ///< the client sent it
  Ps queued{0};                   ///< the engine's scheduler could first see it (front end done)
  Ps scheduled{0};                ///< its first chunk started
  Ps first_token{0};              ///< the client saw the first token
  Ps done{0};                     ///< the client saw the last token
  const char* failure = nullptr;  ///< static text, null = completed
};

/// A request's KV cache on its way from the replica that computed its prompt to the one that decodes it.
struct KvTransfer {
  RequestId request = 0;
  std::int32_t source = 0, target = 0;  ///< replicas
  double bytes = 0;
  Ps prefilled{0};  ///< the prompt was computed
  Ps reserved{0};   ///< the target had blocks for it
  Ps start{0};      ///< its first byte left
  Ps end{0};        ///< its last byte came
  /// How long the request waited for it.
  Ps exposed() const { return end - prefilled; }
};

/// What a replica is there for.
enum class ReplicaState : std::uint8_t {
  down,      ///< not there: never started, stopped, or failed
  starting,  ///< booting, loading weights: paid for, and of no use yet
  up,
  draining  ///< finishes what it has and takes no more
};

/// A replica of a cluster whose replicas come and go is in another state from `time` on.
struct ReplicaChange {
  std::int32_t replica = 0;
  ReplicaState state = ReplicaState::down;
  Ps time{0};
  bool failed = false;  ///< down because it failed
};

/// A request has lost its replica and is sent again.
struct Retry {
  RequestId request = 0;
  std::int32_t replica = 0;  ///< that it lost
  Ps time{0};
  Tokens delivered = 0;  ///< of its answer before
  Tokens discarded = 0;  ///< of those, what is generated anew: all, or none
};

/// A sequence that went on in another replica while it decoded, or was to.
struct Migration {
  RequestId request = 0;
  std::int32_t source = 0, target = 0;  ///< replicas
  Tokens tokens = 0;                    ///< in its KV cache in the end
  double bytes = 0;                     ///< sent
  std::int32_t stages = 0;
  Ps start{0};
  Ps paused{0};  ///< its last token at the source
  Ps end{0};     ///< all of its cache was there; or it was given up
  bool moved = false;
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
  virtual void on_kv_transfer(const KvTransfer&) {}  ///< at its end
  virtual void on_replica(const ReplicaChange&) {}   ///< of each first at time 0
  virtual void on_retry(const Retry&) {}
  virtual void on_migration(const Migration&) {}  ///< at its end
  virtual void on_request_done(const RequestRecord&) {}
  /// The last event has been told. `end` is the time of the last completion (or of the cut-off).
  virtual void on_end(Ps /*end*/) {}
};

}  // namespace orrery
