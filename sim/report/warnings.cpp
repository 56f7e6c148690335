#include "report/warnings.hpp"

#include <fmt/format.h>

#include "report/text.hpp"

namespace orrery {

namespace {

std::string unstable(const Stability& s) {
  return fmt::format(
      "UNSTABLE: {:.1f} req/s arrive per replica, {:.1f} are served; the queue grew the whole run. "
      "Percentiles "
      "depend on run length (here {}) and are not a steady state.",
      s.arrival_rps_per_replica, s.served_rps_per_replica, duration_text(s.arrivals_s));
}

std::string too_few(double percent, std::int64_t requests, double needed) {
  const double beyond = static_cast<double>(requests) * (1 - percent / 100);
  return fmt::format("p{:g} from {} requests is {}; simulate {} or more (a longer run), or leave it out.",
                     percent, grouped(requests),
                     beyond < 1.5 ? "one sample" : fmt::format("{:.0f} samples", beyond), grouped(needed, 0));
}

}  // namespace

void add_warnings(Summary& s) {
  if (s.stability.unstable) s.warnings.push_back(unstable(s.stability));
  const auto& percentiles = s[Metric::ttft].percentiles;
  for (auto p = percentiles.rbegin(); p != percentiles.rend() && s.completed > 0; ++p) {
    if (p->first >= 100) continue;  // the maximum is what it is
    const double needed = 10 / (1 - p->first / 100);
    if (static_cast<double>(s.completed) >= needed * (1 - 1e-6)) continue;
    s.warnings.push_back(too_few(p->first, s.completed, needed));  // the worst of them says enough
    break;
  }
  for (const auto& [reason, count] : s.failures) {
    s.warnings.push_back(
        fmt::format("{} request{} failed: {}", grouped(count), count == 1 ? "" : "s", reason));
  }
}

}  // namespace orrery
