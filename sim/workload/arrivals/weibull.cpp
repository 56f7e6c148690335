#include <cmath>

#include <fmt/format.h>

#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

/// Weibull gaps of shape k and mean 1/rate: the mean of Weibull(k, s) is s * Gamma(1 + 1/k).
class Weibull : public ArrivalProcess {
 public:
  Weibull(double rate, double shape, Rng rng)
      : shape_(shape), scale_(1 / (rate * std::tgamma(1 + 1 / shape))), rng_(rng) {}
  double next() override { return time_ += rng_.weibull(shape_, scale_); }

 private:
  double shape_, scale_;
  Rng rng_;
  double time_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec& spec, double rate, Rng rng) {
  if (!(spec.burstiness >= 0.05 && spec.burstiness <= 100)) {
    throw ConfigError(fmt::format("burstiness (shape of the Weibull gaps): expected 0.05 to 100, found {}",
                                  spec.burstiness));
  }
  return std::make_unique<Weibull>(rate, spec.burstiness, rng);
}

const Registration<ArrivalProcesses> weibull{"weibull", "Weibull gaps of a given burstiness (shape)", make};

}  // namespace
}  // namespace orrery
