#pragma once

#include <cstdint>
#include <memory>

#include "base/registry.hpp"
#include "base/rng.hpp"
#include "workload/source.hpp"

namespace orrery {

/// Draws lengths of prompts or of answers, in tokens.
class LengthDistribution {
 public:
  virtual ~LengthDistribution() = default;
  virtual std::int32_t next() = 0;
};
using LengthDistributionPtr = std::unique_ptr<LengthDistribution>;

enum class LengthRole : std::uint8_t { input, output };

/// Registry kind. The factory checks its fields of the spec.
struct LengthDistributions {
  static constexpr const char* kind = "length distribution";
  using Factory = LengthDistributionPtr (*)(const LengthSpec& spec, LengthRole role, std::uint64_t seed);
};

/// The distribution a spec names. Errors: ConfigError naming the role and the field.
LengthDistributionPtr make_lengths(const LengthSpec& spec, LengthRole role, std::uint64_t seed);

constexpr const char* name(LengthRole role) {
  return role == LengthRole::input ? "input" : "output";
}

/// The random stream of a role's lengths.
Rng length_stream(LengthRole role, std::uint64_t seed);

/// Rounds to a whole number of tokens within the spec's bounds.
std::int32_t clamp_length(double tokens, const LengthSpec& spec);

}  // namespace orrery
