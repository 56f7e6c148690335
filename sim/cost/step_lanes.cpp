#include "cost/step_lanes.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery {

void LongestPath::add(Mark mark, Lane lane, double seconds) {
  if (mark != Mark::none) {
    ORRERY_CHECK(mark == Mark::fork || regions_.size() > 1, "a branch or join without a fork");
    if (mark == Mark::fork) regions_.emplace_back();
    if (mark == Mark::join) join();
    if (mark == Mark::branch) {
      Region& region = regions_.back();
      region.longest = std::max(region.longest, region.branch);
      region.branch = 0;
    }
  }
  regions_.back().branch += seconds;
  regions_.back().lane[static_cast<std::size_t>(lane)] += seconds;
}

void LongestPath::join() {
  const Region region = regions_.back();
  regions_.pop_back();
  const double busiest = *std::max_element(region.lane.begin(), region.lane.end());
  Region& outer = regions_.back();
  outer.branch += std::max({region.longest, region.branch, busiest});
  for (std::size_t i = 0; i < region.lane.size(); ++i) outer.lane[i] += region.lane[i];
}

double LongestPath::seconds() const {
  ORRERY_CHECK(regions_.size() == 1, "a fork without a join");
  return regions_.front().branch;
}

}  // namespace orrery
