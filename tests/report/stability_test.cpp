#include "report/stability.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "report/events.hpp"
#include "report/metrics.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

/// A server that takes `service` per request, first come first served, told as one decode run per request
/// with the queue its arrival left behind.
Summary serve(double rate, Ps service, double duration_s, int burst = 0) {
  Metrics metrics;
  Rng rng(11, "arrivals");
  std::vector<Ps> arrivals(static_cast<std::size_t>(burst), Ps(0));
  for (double t = rng.exponential(1 / rate); t < duration_s; t += rng.exponential(1 / rate)) {
    arrivals.push_back(seconds(t));
  }
  Ps free(0);
  std::size_t told = 0;
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    const Ps start = std::max(free, arrivals[i]);
    while (told < arrivals.size() && arrivals[told] <= start) {
      metrics.on_arrival(request(static_cast<RequestId>(told), arrivals[told]), {});
      ++told;
    }
    auto run = decode_run(start, service, Ps(0), 1, 1);
    run.load.waiting = static_cast<std::int64_t>(told - i - 1);
    metrics.on_decode_run(run);
    free = start + service;
    metrics.on_request_done(
        record(static_cast<RequestId>(i), arrivals[i], start - arrivals[i], service, Ps(0), 1));
  }
  metrics.on_end(free);
  return metrics.summary();
}

}  // namespace

TEST_CASE("is an overloaded server called unstable, with the two rates?") {
  const auto s = serve(25, ms(1000 / 17.0), 40);  // 25 arrive, 17 can be served
  CHECK(s.stability.unstable);
  CHECK(s.stability.arrival_rps_per_replica == Approx(25).epsilon(0.1));
  CHECK(s.stability.served_rps_per_replica == Approx(17).epsilon(0.05));
  REQUIRE_FALSE(s.warnings.empty());
  CHECK_THAT(s.warnings[0], Catch::StartsWith("UNSTABLE: "));
}

TEST_CASE("is a slight overload over a long run seen?") {
  CHECK(serve(20, ms(1000 / 18.5), 600).stability.unstable);
}

TEST_CASE("is a busy but stable server left in peace?") {
  const double load = GENERATE(0.3, 0.7, 0.85);
  const auto s = serve(20 * load, ms(50), 600);
  CHECK(s.stability.judged);
  CHECK_FALSE(s.stability.unstable);
}

TEST_CASE("is a queue that only drains a burst called stable?") {
  CHECK_FALSE(serve(5, ms(50), 120, 400).stability.unstable);
}

TEST_CASE("is a short run not judged?") {
  CHECK_FALSE(serve(25, ms(1000 / 17.0), 8).stability.judged);
}
