#include "report/expand_steps.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

std::int64_t steps_ended_before(const DecodeRun& run, Ps time) {
  const std::int64_t elapsed = (time - run.start).value;
  if (elapsed <= 0 || run.steps == 0) return 0;
  const auto end_of = [&](std::int64_t k) {
    return run.first.value * k + run.slope.value * (k * (k - 1) / 2);
  };
  if (end_of(run.steps) < elapsed) return run.steps;

  // Root of slope/2 k^2 + (first - slope/2) k = elapsed in doubles, then put right in integers.
  const double half = static_cast<double>(run.slope.value) / 2;
  const double linear = static_cast<double>(run.first.value) - half;
  const double target = static_cast<double>(elapsed);
  const double discriminant = std::max(0.0, linear * linear + 4 * half * target);
  const double denominator = linear + std::sqrt(discriminant);
  auto k = denominator > 0 ? static_cast<std::int64_t>(2 * target / denominator) : run.steps;
  k = std::clamp<std::int64_t>(k, 0, run.steps);
  while (k > 0 && end_of(k) >= elapsed) --k;
  while (k < run.steps && end_of(k + 1) < elapsed) ++k;
  return k;
}

}  // namespace orrery
