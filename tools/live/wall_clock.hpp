#pragma once

#include <chrono>
#include <thread>

#include "step_runner.hpp"

namespace orrery::live {

/// Real time since it was made.
class WallClock final : public RunClock {
 public:
  Ps now() const override {
    return Ps(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count() * 1000);
  }
  /// Sleeps, and watches the clock for the last part, which a sleep might miss.
  void wait_until(Ps time) override {
    constexpr std::chrono::microseconds watched(200);
    const auto end = start_ + std::chrono::nanoseconds(time.value / 1000);
    std::this_thread::sleep_until(end - watched);
    while (now() < time) {
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace orrery::live
