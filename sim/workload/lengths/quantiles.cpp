#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "workload/length_distribution.hpp"

namespace orrery {
namespace {

/// Inverse of the cumulative distribution through given points, the logarithm of the length linear in p in
/// between.
class Quantiles : public LengthDistribution {
 public:
  Quantiles(const LengthSpec& spec, Rng rng) : spec_(spec), rng_(rng) {}

  std::int32_t next() override {
    const auto& q = spec_.quantiles;
    const double p = rng_.uniform();
    const auto after =
        std::find_if(q.begin() + 1, q.end() - 1, [&](const auto& point) { return point.first > p; });
    const auto& [p0, v0] = *(after - 1);
    const auto& [p1, v1] = *after;
    return clamp_length(v0 * std::pow(v1 / v0, (p - p0) / (p1 - p0)), spec_);
  }

 private:
  LengthSpec spec_;
  Rng rng_;
};

LengthDistributionPtr make(const LengthSpec& spec, LengthRole role, std::uint64_t seed) {
  const auto& q = spec.quantiles;
  bool good = q.size() >= 2 && q.front().first == 0 && q.back().first == 1;
  for (std::size_t i = 0; i < q.size() && good; ++i) {
    good = q[i].second >= 1 && std::isfinite(q[i].second) &&
           (i == 0 || (q[i].first > q[i - 1].first && q[i].second >= q[i - 1].second));
  }
  if (!good) {
    throw ConfigError(
        fmt::format("quantiles of the {} lengths: expected (p, length) pairs ascending in both, from p = 0 "
                    "to p = 1, lengths of at least 1",
                    name(role)));
  }
  return std::make_unique<Quantiles>(spec, length_stream(role, seed));
}

const Registration<LengthDistributions> quantiles{
    "quantiles", "through given (p, length) points, log-linear between", make};

}  // namespace
}  // namespace orrery
