#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "table_row.hpp"

namespace orrery::profile {

/// The cases of one component still to be measured, most wanted first.
struct Queue {
  std::string component;
  double weight = 1;  ///< its share of the time
  std::deque<Job> jobs;
};

/// Whose turn it is: weighted fair queueing over the time spent, so that wherever a budget ends every
/// component has had its share, its most wanted shapes first, and what one leaves over goes to the others.
class Plan {
 public:
  explicit Plan(std::vector<Queue> queues);
  /// The next case of the component that had least time for its weight; nullopt = all done.
  std::optional<Job> next();
  /// To be told after each case (also a skipped one, with 0).
  void spent(const std::string& component, double seconds);
  /// Puts a component's cases aside: nothing of it is asked for again.
  void drop(const std::string& component);
  std::size_t left() const;

 private:
  struct Turn {
    Queue queue;
    double seconds = 0;
  };
  std::vector<Turn> turns_;
};

/// Seconds one case takes to make and sample, roughly: for --list and the first guess of what is left.
double rough_seconds(const kernels::Case& c);

/// Which components --only means: those named, and those that measure a class named.
/// Errors: ConfigError (usage) for a name that is neither.
std::vector<std::string> chosen_components(const std::vector<std::string>& only,
                                           const kernels::DeviceInfo& device);

}  // namespace orrery::profile
