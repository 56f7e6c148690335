#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace orrery {

/// How many sequences something is due for at each of the steps to come, ascending.
class StepCounts {
 public:
  bool empty() const { return due_.empty(); }
  std::int64_t first() const { return due_.front().first; }
  std::int64_t first_count() const { return due_.front().second; }

  void add(std::int64_t step, std::int64_t count = 1) {
    const auto place = find(step);
    if (place != due_.end() && place->first == step) {
      place->second += count;
    } else {
      due_.insert(place, {step, count});
    }
  }
  void remove(std::int64_t step) {
    const auto place = find(step);
    if (--place->second == 0) due_.erase(place);
  }
  void pop() { due_.erase(due_.begin()); }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>>::iterator find(std::int64_t step) {
    return std::lower_bound(due_.begin(), due_.end(), std::pair{step, std::int64_t{0}});
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> due_;
};

}  // namespace orrery
