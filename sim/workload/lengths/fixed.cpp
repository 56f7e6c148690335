#include <cmath>

#include <fmt/format.h>

#include "workload/length_distribution.hpp"

namespace orrery {
namespace {

class Fixed : public LengthDistribution {
 public:
  explicit Fixed(std::int32_t length) : length_(length) {}
  std::int32_t next() override { return length_; }

 private:
  std::int32_t length_;
};

LengthDistributionPtr make(const LengthSpec& spec, LengthRole role, std::uint64_t) {
  if (!(spec.mean >= 1)) {
    throw ConfigError(fmt::format("fixed {} length: expected at least 1, found {}", name(role), spec.mean));
  }
  return std::make_unique<Fixed>(clamp_length(spec.mean, spec));
}

const Registration<LengthDistributions> fixed{"fixed", "always `mean` tokens", make};

}  // namespace
}  // namespace orrery
