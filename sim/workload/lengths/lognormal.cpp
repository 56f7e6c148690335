#include <cmath>

#include <fmt/format.h>

#include "workload/length_distribution.hpp"

namespace orrery {
namespace {

class LogNormal : public LengthDistribution {
 public:
  LogNormal(const LengthSpec& spec, Rng rng) : spec_(spec), mu_(std::log(spec.median)), rng_(rng) {}
  std::int32_t next() override { return clamp_length(rng_.lognormal(mu_, spec_.sigma), spec_); }

 private:
  LengthSpec spec_;
  double mu_;
  Rng rng_;
};

LengthDistributionPtr make(const LengthSpec& spec, LengthRole role, std::uint64_t seed) {
  if (!(spec.median >= 1) || std::isinf(spec.median) || !(spec.sigma >= 0 && spec.sigma <= 10)) {
    throw ConfigError(
        fmt::format("lognormal {} lengths of median {} and sigma {}: expected a median of at least 1 and a "
                    "sigma from 0 to 10",
                    name(role), spec.median, spec.sigma));
  }
  return std::make_unique<LogNormal>(spec, length_stream(role, seed));
}

const Registration<LengthDistributions> lognormal{"lognormal",
                                                  "exp(N(log median, sigma^2)), clipped to [min, max]", make};

}  // namespace
}  // namespace orrery
