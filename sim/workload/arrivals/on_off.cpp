#include <cmath>

#include <fmt/format.h>

#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

/// Interrupted Poisson process: bursts and silences of exponential length, Poisson arrivals in the bursts
/// only, at the rate that makes the long-run mean the one asked for.
class OnOff : public ArrivalProcess {
 public:
  OnOff(const ArrivalSpec& spec, double rate, Rng rng)
      : on_s_(spec.on_s), off_s_(spec.off_s), gap_(on_s_ / (rate * (on_s_ + off_s_))), rng_(rng) {
    burst_end_ = rng_.exponential(on_s_);
  }

  double next() override {
    double t = time_ + rng_.exponential(gap_);
    while (t > burst_end_) {  // exponential gaps have no memory: draw anew from the next burst's start
      const double start = burst_end_ + rng_.exponential(off_s_);
      burst_end_ = start + rng_.exponential(on_s_);
      t = start + rng_.exponential(gap_);
    }
    return time_ = t;
  }

 private:
  double on_s_, off_s_, gap_;
  Rng rng_;
  double time_ = 0, burst_end_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec& spec, double rate, Rng rng) {
  if (!(spec.on_s > 0 && spec.off_s >= 0 && std::isfinite(spec.on_s) && std::isfinite(spec.off_s))) {
    throw ConfigError(
        fmt::format("bursts of {} s and silences of {} s: expected positive numbers", spec.on_s, spec.off_s));
  }
  return std::make_unique<OnOff>(spec, rate, rng);
}

const Registration<ArrivalProcesses> on_off{
    "on_off", "bursts and silences of exponential length, Poisson inside", make};

}  // namespace
}  // namespace orrery
