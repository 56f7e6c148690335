#include "serving/autoscaler.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.hpp"

namespace orrery {

/// Per replica that takes requests: what those that start will take is with the others as yet.
double Autoscaler::signal(const FleetLoad& load) const {
  const double up = std::max(1, load.up);
  switch (params_.signal) {
    case AutoscaleParams::Signal::queue:
      return static_cast<double>(load.waiting) / up;
    case AutoscaleParams::Signal::concurrency:
      return static_cast<double>(load.outstanding) / up;
    case AutoscaleParams::Signal::rps:
      return load.arrivals_per_s / up;
    case AutoscaleParams::Signal::ttft:
      return load.ttft_s;
    case AutoscaleParams::Signal::kv:
      return load.kv_used;
  }
  return 0;
}

int Autoscaler::desired(const FleetLoad& load, Ps now) {
  const int there = load.up + load.starting, up = std::max(1, load.up);
  const double ratio = signal(load) / params_.target;
  int wanted = there;
  if (std::abs(ratio - 1) > params_.tolerance) {
    const double scaled = std::ceil(std::min(up * ratio, static_cast<double>(params_.max)) - 1e-9);
    wanted = static_cast<int>(scaled);
    if (ratio > 1) wanted = std::max(wanted, there);  // some that were asked for may not be there yet
  }
  wanted = std::clamp(wanted, params_.min, params_.max);
  while (!recommended_.empty() && now - recommended_.front().first >= params_.cooldown)
    recommended_.pop_front();
  recommended_.emplace_back(now, wanted);
  int most = 0;
  for (const auto& [when, count] : recommended_) most = std::max(most, count);
  return wanted >= there ? wanted : std::min(most, there);
}

AutoscaleParams::Signal parse_autoscale_signal(const std::string& text) {
  const std::vector<std::string> names{"queue", "concurrency", "rps", "ttft", "kv"};
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) {
    throw ConfigError("unknown autoscale signal '" + text + "'", suggestion(text, names), ExitCode::usage);
  }
  return static_cast<AutoscaleParams::Signal>(found - names.begin());
}

}  // namespace orrery
