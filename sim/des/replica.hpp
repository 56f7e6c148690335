#pragma once

#include <memory>
#include <span>
#include <vector>

#include "des/simulation.hpp"
#include "events/observer.hpp"
#include "serving/sequence.hpp"

namespace orrery {

class EngineCore;

/// A sequence of a replica's engine core.
struct SequenceHandle {
  CoreId where;
  SeqIndex index = kNoSeq;
  std::uint32_t generation = 0;  ///< of its slot, where a sequence may have left it meanwhile
};

/// Told when a request leaves (for the router's view, closed loops and records), and what those that hand
/// requests over to others need to know.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void on_done(const Request& request, const RequestRecord& record) = 0;
  /// A step from `start` to `end` begins with the first chunk of a prompt that will be handed over.
  virtual void on_prefill(const Request&, const SequenceHandle&, Ps /*start*/, Ps /*end*/) {}
  /// A prompt is computed; its blocks stay until Replica::release().
  virtual void on_prefilled(const Request&, const SequenceHandle&, const Prefilled&, Ps /*now*/) {}
  /// The first token of a request has been computed; told where CoreContext::first_tokens asks for it.
  virtual void on_first_token(const Request&, Ps /*now*/) {}
  /// A sequence has had its last token on this replica; its blocks stay until Replica::release().
  virtual void on_departed(const Request&, const SequenceHandle&, const Prefilled&, Ps /*now*/) {}
  /// There are blocks for a prompt that is computed elsewhere; `tokens` of it are not in the cache.
  virtual void on_reserved(const Request&, const SequenceHandle&, Tokens /*tokens*/, Ps /*now*/) {}
  /// A sequence begins to wait for KV from lower tiers: Replica::loaded().
  virtual void on_load(const SequenceHandle&, const KvLoad&, Ps /*now*/) {}
};

/// What every engine core of a simulation talks to.
struct CoreContext {
  bool stepwise = false;  ///< one step at a time
  bool first_tokens = false;
  std::span<Observer* const> observers;
  RequestListener& listener;
  SimulationResult& totals;
};

/// One model on its GPUs behind one queue of requests: engine cores and the clock they step by.
class Replica {
 public:
  virtual ~Replica() = default;
  /// A request reaches an engine core's scheduler at `now`. May bring next_event() nearer.
  virtual void enqueue(const Request& request, Ps now) = 0;
  /// The end of the step or run in flight, or the moment idle cores wake; kNever when idle.
  virtual Ps next_event() const = 0;
  /// Handles next_event(), which is now.
  virtual void on_event(Ps now) = 0;

  /// A request whose prompt another replica computes, or has computed, waits for blocks: on_reserved().
  virtual void expect(const Request& request, Ps now);
  /// Its KV has come.
  virtual void receive(const SequenceHandle& sequence, const Prefilled& before, Ps now);
  /// What on_prefilled() told of has been sent.
  virtual void release(const SequenceHandle& sequence, Ps now);

  /// Stops at `now`, and is of no use afterwards: the steps that are over count, the one in flight is lost.
  /// All requests come out, to go on elsewhere; not those of replicas that hand prompts over.
  virtual void evacuate(Ps now, std::vector<Evacuated>& out) = 0;
  /// A request that another replica has begun goes on here: what was delivered of it is computed again with
  /// its prompt. With `kv_kept` it is not: the request waits for blocks, on_reserved(), and receive().
  virtual void resume(const Evacuated& begun, bool kv_kept, Ps now) = 0;

  virtual std::int64_t waiting() const = 0;  ///< requests in its queues
  /// Steps of the run in flight that ended before `now` are told and counted, so that what its engine cores
  /// hold is what they would hold if steps were simulated one by one. Decides nothing.
  virtual void catch_up(Ps /*now*/) {}
  /// An engine core, from 0 on; null where there is none, or where looking into them is not modelled.
  virtual EngineCore* core(int /*index*/) { return nullptr; }
  /// Something came about that the next decision should know: it comes at the next step's end, or now.
  virtual void look_again(Ps now) = 0;

  /// What on_load() told of has come.
  virtual void loaded(const SequenceHandle& sequence, Ps now) = 0;

  /// Adds what its engine cores' tiers have seen to `sums`, which is empty or as long.
  virtual void count_tiers(std::vector<KvTierCounts>& sums) const = 0;
  virtual std::int64_t kv_blocks_free() const = 0;  ///< summed over its engine cores
  /// Tokens of `request` that the cache of the engine core it would go to holds.
  virtual Tokens cached_tokens(const Request& request) const = 0;
  virtual Ps busy() const = 0;  ///< time its GPUs were stepping
};

/// Errors: ConfigError for a configuration that cannot run.
std::unique_ptr<Replica> make_replica(int index, const ReplicaConfig& config, const CoreContext& context);

}  // namespace orrery
