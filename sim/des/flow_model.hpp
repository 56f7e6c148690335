#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "base/units.hpp"

namespace orrery {

/// How fast flows go over the links they share.
class FlowModel {
 public:
  virtual ~FlowModel() = default;
  /// A flow of `bytes` over `links` begins at `now`, not before any time seen so far.
  virtual void start(std::uint64_t id, std::span<const int> links, double bytes, Ps now) = 0;
  /// Goes on to the next moment at which flows end, or to `horizon`, whichever comes first. The ids of those
  /// that end then are appended to `ended`. Returns the time reached.
  virtual Ps run_until(Ps horizon, std::vector<std::uint64_t>& ended) = 0;
  /// Every transfer is over as soon as it starts.
  virtual bool instant() const { return false; }
};

/// Whether the "simgrid" fabric can be loaded.
bool contended_fabric_built_in();

struct FlowModels {
  static constexpr const char* kind = "fabric";
  /// `rates` by link, bytes per second. The caller owns the result. Errors: ConfigError where it is not built
  /// in, or can have one user at a time in a process.
  using Factory = FlowModel* (*)(std::span<const double> rates);
};

}  // namespace orrery
