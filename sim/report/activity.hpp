#pragma once

#include <cstdint>
#include <vector>

#include "events/observer.hpp"

namespace orrery {

/// What happened in each second of simulated time, counted from an origin: the buckets of vLLM's peak
/// figures, and the queue over time. 24 bytes a second: a week is 14 MB.
class Activity {
 public:
  struct Second {
    std::uint32_t arrivals = 0, completions = 0;
    double tokens = 0;
    double queued_s = 0;  ///< integral of the number of waiting requests, request-seconds
  };

  void set_origin(Ps origin) { origin_ = origin; }
  void arrival(Ps when) { ++at(when).arrivals; }
  void completion(Ps when) { ++at(when).completions; }
  /// An arrival that did not end well is no part of the load, as in vLLM.
  void forget_arrival(Ps when) { --at(when).arrivals; }
  void tokens(Ps when, std::int64_t count) {
    if (when >= origin_) at(when).tokens += static_cast<double>(count);
  }
  void tokens(const DecodeRun& run);
  void waiting(Ps from, Ps to, std::int64_t requests);

  const std::vector<Second>& seconds() const { return seconds_; }
  double peak_tokens() const;
  std::int64_t peak_active() const;

 private:
  static constexpr std::int64_t kSecond = 1'000'000'000'000;
  std::size_t index(Ps when) const { return static_cast<std::size_t>((when - origin_).value / kSecond); }
  Second& at(Ps when) {
    const auto i = when > origin_ ? index(when) : 0;
    if (i >= seconds_.size()) seconds_.resize(i + 1);
    return seconds_[i];
  }

  Ps origin_{0};
  std::vector<Second> seconds_;
};

}  // namespace orrery
