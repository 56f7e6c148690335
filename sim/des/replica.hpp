#pragma once

#include <memory>
#include <span>

#include "des/simulation.hpp"
#include "events/observer.hpp"

namespace orrery {

/// Told when a request leaves (for the router's view, closed loops and records).
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void on_done(const Request& request, const RequestRecord& record) = 0;
};

/// What every engine core of a simulation talks to.
struct CoreContext {
  bool stepwise = false;  ///< one step at a time
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

  virtual std::int64_t kv_blocks_free() const = 0;  ///< summed over its engine cores
  /// Tokens of `request` that the cache of the engine core it would go to holds.
  virtual Tokens cached_tokens(const Request& request) const = 0;
  virtual Ps busy() const = 0;  ///< time its GPUs were stepping
};

/// Errors: ConfigError for a configuration that cannot run.
std::unique_ptr<Replica> make_replica(int index, const ReplicaConfig& config, const CoreContext& context);

}  // namespace orrery
