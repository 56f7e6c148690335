#pragma once

#include <cstdint>
#include <functional>

#include "des/fabric.hpp"
#include "des/replica.hpp"

namespace orrery {

/// The cluster a simulation runs, as those see it that act in it beside requests and their replicas:
/// hand-overs of prompts, migrations, failures, scaling.
class Cluster {
 public:
  using Callback = std::function<void(Ps now)>;

  virtual ~Cluster() = default;
  virtual int replicas() const = 0;
  virtual Replica& replica(int index) = 0;
  virtual const ReplicaConfig& config(int index) const = 0;
  /// Requests sent to it that have not left.
  virtual std::int64_t outstanding(int replica) const = 0;
  virtual bool has_fabric() const = 0;
  /// What replicas share; requires ClusterConfig::fabric.
  virtual Fabric& fabric() = 0;

  /// The replica that a request is to go to, as the router chooses among those that take any.
  virtual int choose(const Request& request, Ps now) = 0;
  /// Sends a request there.
  virtual void dispatch(Request request, Ps now) = 0;
  /// A replica that has stopped is made anew: nothing in it, nothing cached.
  virtual void renew(int replica) = 0;
  /// The replica that is to decode a request, which counts as sent there from now on.
  virtual int choose_decode(const Request& request, Ps now) = 0;
  /// A request goes to a replica; has left it without being done. Routers see this.
  virtual void enter(int replica, const Request& request) = 0;
  virtual void leave(int replica, const Request& request) = 0;
  /// A replica's next event may have come nearer.
  virtual void changed(int replica) = 0;

  /// Calls back at `time`, not before now. Of what happens at one time, callbacks come after transfers and
  /// before arrivals and steps, in the order they were asked for.
  virtual void at(Ps time, Callback callback) = 0;
  /// Nothing is under way or on its way, but for callbacks: one that asks for itself again and again must not
  /// then, or a run that waits in vain would never end.
  virtual bool quiet() const = 0;
  /// Every request there was has left. What comes again and again at random times asks this.
  virtual bool served() const = 0;
};

}  // namespace orrery
