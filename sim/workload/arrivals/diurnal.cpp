#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

/// Poisson arrivals whose rate swings as a sine, by thinning those of the highest rate (Lewis and Shedler,
/// 1979).
class Diurnal : public ArrivalProcess {
 public:
  Diurnal(const ArrivalSpec& spec, double rate, Rng rng)
      : amplitude_(spec.amplitude),
        omega_(2 * std::numbers::pi / spec.period_s),
        gap_(1 / (rate * (1 + amplitude_))),
        rng_(rng) {}

  double next() override {
    do {
      time_ += rng_.exponential(gap_);
    } while (rng_.uniform() * (1 + amplitude_) >= 1 + amplitude_ * std::sin(omega_ * time_));
    return time_;
  }

 private:
  double amplitude_, omega_, gap_;
  Rng rng_;
  double time_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec& spec, double rate, Rng rng) {
  if (!(spec.amplitude >= 0 && spec.amplitude <= 1)) {
    throw ConfigError(fmt::format("amplitude of the daily swing: expected 0 to 1, found {}", spec.amplitude));
  }
  if (!(spec.period_s > 0) || std::isinf(spec.period_s)) {
    throw ConfigError(fmt::format(
        "period of the daily swing: expected a positive number of seconds, found {}", spec.period_s));
  }
  return std::make_unique<Diurnal>(spec, rate, rng);
}

const Registration<ArrivalProcesses> diurnal{"diurnal",
                                             "Poisson with a rate that swings as a sine over a period", make};

}  // namespace
}  // namespace orrery
