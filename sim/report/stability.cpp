#include "report/stability.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace orrery {

namespace {

struct Line {
  double slope = 0, r2 = 0;
};

/// Least squares through (i, y[i]).
Line fit(const std::vector<double>& y) {
  const double n = static_cast<double>(y.size()), mean_x = (n - 1) / 2;
  double mean_y = 0;
  for (const double v : y) mean_y += v / n;
  double xx = 0, xy = 0, yy = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double dx = static_cast<double>(i) - mean_x, dy = y[i] - mean_y;
    xx += dx * dx, xy += dx * dy, yy += dy * dy;
  }
  if (xx == 0 || yy == 0) return {};
  return {xy / xx, xy * xy / (xx * yy)};
}

/// Share of the steps between consecutive tenths of y in which the mean rises.
double rising_share(const std::vector<double>& y) {
  constexpr std::size_t kParts = 10;
  double before = -1;
  int rises = 0;
  for (std::size_t part = 0; part < kParts; ++part) {
    const std::size_t from = y.size() * part / kParts, to = y.size() * (part + 1) / kParts;
    double mean = 0;
    for (std::size_t i = from; i < to; ++i) mean += y[i] / static_cast<double>(to - from);
    if (part > 0 && mean > before) ++rises;
    before = mean;
  }
  return rises / static_cast<double>(kParts - 1);
}

/// Completions per second in the second half of the first `seconds` seconds, when the server has filled up.
double served_late(const Activity& activity, std::size_t seconds) {
  const auto& all = activity.seconds();
  double served = 0;
  for (std::size_t i = seconds / 2; i < std::min(seconds, all.size()); ++i) served += all[i].completions;
  return served / static_cast<double>(seconds - seconds / 2);
}

}  // namespace

Stability judge_stability(const Activity& activity, std::int64_t arrivals, double arrivals_s, int replicas) {
  Stability out;
  out.arrivals_s = arrivals_s;
  const auto seconds = static_cast<std::size_t>(arrivals_s);  // whole ones
  if (seconds < 10 || arrivals < 50) return out;
  out.judged = true;

  std::vector<double> queue(seconds, 0.0);
  for (std::size_t i = 0; i < std::min(seconds, activity.seconds().size()); ++i) {
    queue[i] = activity.seconds()[i].queued_s;
  }
  const Line line = fit(queue);
  const double rate = static_cast<double>(arrivals - 1) / arrivals_s;
  out.queue_growth_rps = line.slope;
  out.arrival_rps_per_replica = rate / replicas;
  out.served_rps_per_replica = served_late(activity, seconds) / replicas;

  const double growth = line.slope * arrivals_s;
  const double matters = std::max(10.0 * replicas, 0.02 * static_cast<double>(arrivals));
  out.unstable = growth >= matters && line.r2 >= 0.7 && rising_share(queue) >= 0.75;
  return out;
}

}  // namespace orrery
