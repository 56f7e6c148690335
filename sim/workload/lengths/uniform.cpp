#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "workload/length_distribution.hpp"

namespace orrery {
namespace {

/// Whole numbers between two bounds, both included, rounded as the benchmarks do: [floor(r N), N] or
/// [floor((1 - r) N), ceil((1 + r) N)].
class Uniform : public LengthDistribution {
 public:
  Uniform(std::int32_t low, std::int32_t high, Rng rng) : low_(low), high_(high), rng_(rng) {}
  std::int32_t next() override { return static_cast<std::int32_t>(rng_.uniform_int(low_, high_)); }

 private:
  std::int32_t low_, high_;
  Rng rng_;
};

LengthDistributionPtr make(const LengthSpec& spec, LengthRole role, std::uint64_t seed) {
  if (!(spec.mean >= 1)) {
    throw ConfigError(fmt::format("{} length: expected at least 1, found {}", name(role), spec.mean));
  }
  if (!(spec.ratio >= 0 && spec.ratio <= 1)) {
    throw ConfigError(
        fmt::format("range ratio of the {} lengths: expected 0 to 1, found {}", name(role), spec.ratio));
  }
  const bool below = spec.range == RangeMeaning::below;
  const double low = std::floor(spec.mean * (below ? spec.ratio : 1 - spec.ratio));
  const double high = below ? spec.mean : std::ceil(spec.mean * (1 + spec.ratio));
  return std::make_unique<Uniform>(clamp_length(low, spec), clamp_length(high, spec),
                                   length_stream(role, seed));
}

const Registration<LengthDistributions> uniform{"uniform",
                                                "uniform in [ratio * mean, mean], or around the mean", make};

}  // namespace
}  // namespace orrery
