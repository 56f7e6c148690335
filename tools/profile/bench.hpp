#pragma once

#include <memory>
#include <string>

#include "counters.hpp"
#include "measurement.hpp"
#include "meter.hpp"
#include "sensors.hpp"
#include "stop_rule.hpp"
#include "table_row.hpp"

namespace orrery::profile {

struct BenchSettings {
  StopLimits limits;
  int warm_up_launches = 3;
  bool check_results = false;     ///< compare each case with its reference first (small cases only)
  double power_window_s = 0.3;    ///< how long a case is repeated to read its power
  double spin_up_s = 0.5;         ///< until the clocks have risen
  double settle_s = 0.1;          ///< pause before throttled samples are repeated
  int max_throttled_batches = 3;  ///< repeats before a case is accepted, and marked
};

/// A case's result differs from its reference.
class WrongResult : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Times cases one after another on one device.
class Bench {
 public:
  Bench(BenchSettings settings, Meter& meter, Sensors& sensors, Counters& counters)
      : settings_(settings), meter_(meter), sensors_(sensors), counters_(counters) {}

  /// Keeps the GPU busy until its clocks have risen; what they are then is what later batches are held to.
  Readings spin_up();
  /// Warm-up, cold and warm samples until the stop rule is content, and the extras.
  /// Errors: DeviceError, MeterError, WrongResult.
  Measurement measure(const Job& job);

 private:
  struct Samples {
    StopRule rule;
    std::vector<Readings> readings;
    bool throttled = false;
  };
  void warm_up(kernels::Instance& instance, kernels::StreamRef stream);
  Samples take(Sampling sampling);
  Samples take_own(kernels::Instance& instance);
  std::optional<double> power_of(kernels::Instance& instance, kernels::StreamRef stream, double launch_s);

  BenchSettings settings_;
  Meter& meter_;
  Sensors& sensors_;
  Counters& counters_;
  ThrottleGuard guard_;
};

/// The medians of what was read; what was never read stays empty.
Readings median_readings(const std::vector<Readings>& all);
/// Mean power between two changes of the energy counter, which steps every 20 to 100 ms; without a counter
/// the mean of the power readings.
std::optional<double> mean_power(const std::vector<std::pair<double, Readings>>& by_second);

}  // namespace orrery::profile
