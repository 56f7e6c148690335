#include <cmath>

#include <fmt/format.h>

#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

/// Gamma gaps of mean 1/rate. vLLM's `--burstiness` is the shape k; the coefficient of variation is
/// 1/sqrt(k).
class Gamma : public ArrivalProcess {
 public:
  Gamma(double rate, double shape, Rng rng) : shape_(shape), scale_(1 / (rate * shape)), rng_(rng) {}
  double next() override { return time_ += rng_.gamma(shape_, scale_); }

 private:
  double shape_, scale_;
  Rng rng_;
  double time_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec& spec, double rate, Rng rng) {
  const double shape = spec.cv > 0 ? 1 / (spec.cv * spec.cv) : spec.burstiness;
  if (!(shape > 1e-6 && shape < 1e6)) {
    throw ConfigError(
        fmt::format("burstiness (shape of the gamma gaps): expected 1e-6 to 1e6, found {}", shape));
  }
  return std::make_unique<Gamma>(rate, shape, rng);
}

const Registration<ArrivalProcesses> gamma{"gamma", "gamma gaps of a given burstiness (shape) or CV", make};

}  // namespace
}  // namespace orrery
