#pragma once

#include <cstdint>
#include <functional>

#include "base/units.hpp"

namespace orrery {

/// What is shared and contended between replicas: links, disks, hosts. Collectives inside a step are priced,
/// not simulated. A simulation without flows uses the null fabric and keeps no global state.
class Fabric {
 public:
  virtual ~Fabric() = default;
  /// Starts moving `bytes` from GPU `source` to GPU `target` (cluster-wide indices); `done` is called at its
  /// end.
  virtual void transfer(int source, int target, Bytes bytes, std::function<void(Ps)> done) = 0;
  /// The time of the fabric's next own event, kNever when nothing is in flight.
  virtual Ps next_event() const = 0;
  /// Advances to `now` and calls back what has finished by then.
  virtual void advance(Ps now) = 0;
};

/// Nothing is shared: a transfer is a bug of the caller.
class NullFabric final : public Fabric {
 public:
  void transfer(int source, int target, Bytes bytes, std::function<void(Ps)> done) override;
  Ps next_event() const override { return kNever; }
  void advance(Ps) override {}
};

}  // namespace orrery
