#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/registry.hpp"
#include "base/rng.hpp"
#include "workload/source.hpp"

namespace orrery {

/// Draws the times at which requests arrive.
class ArrivalProcess {
 public:
  virtual ~ArrivalProcess() = default;
  /// Seconds from the start at which the next request arrives; never decreases. Infinity when no more come.
  virtual double next() = 0;
};
using ArrivalProcessPtr = std::unique_ptr<ArrivalProcess>;

/// Registry kind: how arrivals of a mean rate (requests/s, finite and positive) are spread.
struct ArrivalProcesses {
  static constexpr const char* kind = "arrival process";
  using Factory = ArrivalProcessPtr (*)(const ArrivalSpec& spec, double rate, Rng rng);
};

/// The process a spec describes: its stages if it has any, else its process at `rate`, all at t = 0 when that
/// is infinite. Errors: ConfigError when the rate is not positive or a parameter is out of range.
ArrivalProcessPtr make_arrivals(const ArrivalSpec& spec, double rate, std::uint64_t seed);

}  // namespace orrery
