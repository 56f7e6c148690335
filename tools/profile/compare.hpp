#pragma once

#include <string>
#include <vector>

#include "bench.hpp"
#include "progress.hpp"
#include "shapes.hpp"

namespace orrery::profile {

/// A row measured again.
struct Remeasured {
  std::string cls, what;
  double before_s = 0, now_s = 0;
  double ratio() const { return now_s / before_s; }
};

/// About `most` rows, the same number of each class, spread from the shortest to the longest time.
std::vector<Job> representative_jobs(const std::string& folder, const CaseFinder& finder, std::size_t most,
                                     std::vector<double>& before_s);
/// Median ratio per class; true when none is over 1.08.
bool print_comparison(const std::vector<Remeasured>& rows);
/// --compare: re-measures and prints. Returns the exit code. Errors: ConfigError when no row can be repeated.
int compare(const std::string& device_folder, const CaseFinder& finder, Bench& bench, Progress& progress);

}  // namespace orrery::profile
