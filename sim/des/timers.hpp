#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/units.hpp"

namespace orrery {

/// Callbacks by time; those of one time in the order they were asked for.
class Timers {
 public:
  using Callback = std::function<void(Ps now)>;

  void at(Ps time, Callback callback) {
    heap_.push_back({time, asked_++, std::move(callback)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  bool empty() const { return heap_.empty(); }
  Ps next() const { return heap_.empty() ? kNever : heap_.front().time; }
  /// Calls back all of next().
  void advance() {
    const Ps now = next();
    while (!heap_.empty() && heap_.front().time == now) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Callback callback = std::move(heap_.back().callback);
      heap_.pop_back();
      callback(now);
    }
  }

 private:
  struct Entry {
    Ps time;
    std::uint64_t asked;
    Callback callback;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.time != b.time ? a.time > b.time : a.asked > b.asked;
  }
  std::vector<Entry> heap_;
  std::uint64_t asked_ = 0;
};

}  // namespace orrery
