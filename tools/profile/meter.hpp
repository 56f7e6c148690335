#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "component.hpp"

namespace orrery::profile {

/// What is timed, how often, and under which state of the L2 cache.
struct Sampling {
  const kernels::Case* what = nullptr;
  kernels::Instance* instance = nullptr;
  kernels::Timing timing = kernels::Timing::kernels;
  bool cold = true;  ///< twice the L2 is read before each launch; else launches follow one another
  int samples = 1;
  kernels::StreamRef stream = nullptr;
  std::function<void()> while_running;  ///< called once when all is enqueued, before waiting for it
};

/// A timer failed this once: its records are incomplete.
class MeterError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Turns launches into seconds.
class Meter {
 public:
  virtual ~Meter() = default;
  virtual std::string_view name() const = 0;  ///< for the provenance line
  virtual bool real() const { return true; }  ///< false: the times are made up
  /// `samples` times in seconds. Errors: DeviceError, MeterError.
  virtual std::vector<double> sample(const Sampling& s) = 0;
  /// Loads the GPU for about that long, calling `while_running` now and then.
  virtual void keep_busy(double seconds, const std::function<void()>& while_running) = 0;
  /// Between the two, launches cost the host what they cost without a timer.
  virtual void suspend() {}
  virtual void resume() {}
  /// Forgets what ran since the last sample (warm-up, power windows).
  virtual void discard() {}
};

}  // namespace orrery::profile
