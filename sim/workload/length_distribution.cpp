#include "workload/length_distribution.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "workload/trace_reader.hpp"

namespace orrery {

LengthDistributionPtr make_lengths(const LengthSpec& spec, LengthRole role, std::uint64_t seed) {
  const auto& distribution = Registry<LengthDistributions>::find(spec.distribution);
  if (spec.min < 1 || spec.max < spec.min || spec.max > kMaxTokens) {
    throw ConfigError(fmt::format("{} lengths between {} and {}: expected 1 <= min <= max <= 1,000,000,000",
                                  name(role), spec.min, spec.max));
  }
  return distribution.make(spec, role, seed);
}

Rng length_stream(LengthRole role, std::uint64_t seed) {
  return Rng(seed, std::string("lengths.") + name(role));
}

std::int32_t clamp_length(double tokens, const LengthSpec& spec) {
  return static_cast<std::int32_t>(std::clamp(std::round(tokens), double(spec.min), double(spec.max)));
}

}  // namespace orrery
