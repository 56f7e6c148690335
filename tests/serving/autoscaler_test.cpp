#include "serving/autoscaler.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {

Ps at(double seconds) {
  return to_ps(Seconds(seconds));
}

FleetLoad with_queue(int up, std::int64_t waiting, int starting = 0) {
  FleetLoad load;
  load.up = up, load.starting = starting, load.waiting = waiting;
  return load;
}

AutoscaleParams queue_of(double target, int min, int max, double cooldown_s = 300) {
  AutoscaleParams p;
  p.min = min, p.max = max, p.target = target, p.cooldown = at(cooldown_s);
  return p;
}

}  // namespace

TEST_CASE("does an autoscaler ask for signal over target times what there is, rounded up?") {
  // The example of Kubernetes' documentation: at 200 of a target of 100 twice as many, at 50 half.
  CHECK(Autoscaler(queue_of(100, 1, 50)).desired(with_queue(4, 800), at(15)) == 8);
  CHECK(Autoscaler(queue_of(100, 1, 50, 0)).desired(with_queue(4, 200), at(15)) == 2);
  CHECK(Autoscaler(queue_of(100, 1, 50)).desired(with_queue(4, 501), at(15)) == 6);  // 5.01
  CHECK(Autoscaler(queue_of(100, 1, 6)).desired(with_queue(4, 800), at(15)) == 6);
  CHECK(Autoscaler(queue_of(100, 3, 6, 0)).desired(with_queue(4, 0), at(15)) == 3);
}

TEST_CASE("does a signal within a tenth of its target change nothing?") {
  CHECK(Autoscaler(queue_of(100, 1, 50, 0)).desired(with_queue(4, 436), at(15)) == 4);
  CHECK(Autoscaler(queue_of(100, 1, 50, 0)).desired(with_queue(4, 364), at(15)) == 4);
  CHECK(Autoscaler(queue_of(100, 1, 50, 0)).desired(with_queue(4, 444), at(15)) == 5);
}

TEST_CASE("is nothing asked for twice while it starts?") {
  Autoscaler scaler(queue_of(10, 1, 50));
  CHECK(scaler.desired(with_queue(2, 40), at(15)) == 4);
  CHECK(scaler.desired(with_queue(2, 40, 2), at(30)) == 4);
  CHECK(scaler.desired(with_queue(2, 25, 2), at(45)) == 4);
}

TEST_CASE("does an autoscaler keep what was wanted within the cooldown, and no longer?") {
  Autoscaler scaler(queue_of(10, 1, 50, 60));
  CHECK(scaler.desired(with_queue(2, 40), at(0)) == 4);
  CHECK(scaler.desired(with_queue(4, 10), at(30)) == 4);
  CHECK(scaler.desired(with_queue(4, 10), at(59)) == 4);
  CHECK(scaler.desired(with_queue(4, 10), at(60)) == 1);
}

TEST_CASE("does each signal mean what it says, per replica where it is a count?") {
  FleetLoad load;
  load.up = 2, load.waiting = 40, load.outstanding = 60, load.arrivals_per_s = 8, load.ttft_s = 3,
  load.kv_used = 0.9;
  using Signal = AutoscaleParams::Signal;
  const std::pair<Signal, double> twice[] = {{Signal::queue, 10},
                                             {Signal::concurrency, 15},
                                             {Signal::rps, 2},
                                             {Signal::ttft, 1.5},
                                             {Signal::kv, 0.45}};
  for (const auto& [signal, target] : twice) {
    AutoscaleParams params = queue_of(target, 1, 50);
    params.signal = signal;
    CHECK(Autoscaler(params).desired(load, at(15)) == 4);
  }
  CHECK_THROWS_AS(parse_autoscale_signal("cpu"), ConfigError);
}
