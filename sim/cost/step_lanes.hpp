#pragma once

#include <array>
#include <vector>

#include "ops/kernel_call.hpp"

namespace orrery {

/// The duration of a series-parallel sequence of kernel calls, added in order. A call's mark takes effect
/// before the call: `fork` makes it the first of a region's first branch, `branch` the first of the next one,
/// `join` the first call after the region. A call without a class is a mark alone (time 0).
///
/// A region lasts as long as its longest branch, and no lane does two things at once: it also lasts at least
/// the total time of each lane in it. Regions nest.
class LongestPath {
 public:
  LongestPath() : regions_(1) {}

  /// Errors: ORRERY_CHECK when a branch or join has no fork.
  void add(Mark mark, Lane lane, double seconds);
  /// Errors: ORRERY_CHECK when a region is still open.
  double seconds() const;

 private:
  struct Region {
    double branch = 0;   ///< of the branch being added
    double longest = 0;  ///< of the branches before it
    std::array<double, 4> lane{};
  };
  void join();
  std::vector<Region> regions_;  ///< open regions, the innermost last; the first is the step itself
};

}  // namespace orrery
