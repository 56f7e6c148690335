#include "stop_rule.hpp"

#include <cmath>

#include <catch2/catch.hpp>

using orrery::profile::StopLimits;
using orrery::profile::StopRule;

TEST_CASE("does the stop rule ask for at least five samples, however equal they are?", "[profile]") {
  StopRule rule(StopLimits{});
  CHECK(rule.next_batch(0.01) == 5);
  rule.add({1, 1, 1, 1}, 0.001);
  CHECK_FALSE(rule.enough());
  rule.add({1}, 0.001);
  CHECK(rule.enough());
  CHECK(rule.median() == 1);
  CHECK(rule.spread() == 0);
}

TEST_CASE("does the stop rule end when the spread over the root of the count is under 1%?", "[profile]") {
  // Alternating 0.95 and 1.05: quartiles 0.95 and 1.05, median 1, spread 10%. 0.1 / sqrt(n) < 0.01 from n =
  // 101.
  StopRule rule(StopLimits{});
  for (int n = 2; n <= 100; n += 2) {
    rule.add({0.95, 1.05}, 1e-6);
    INFO(n);
    CHECK_FALSE(rule.enough());
  }
  rule.add({0.95, 1.05}, 1e-6);
  CHECK(rule.enough());
  CHECK(rule.spread() == Approx(0.1));
}

TEST_CASE("does the stop rule give up after 200 samples or its seconds?", "[profile]") {
  StopRule many(StopLimits{}), slow(StopLimits{});
  for (int n = 0; n < 100; ++n) many.add({0.5, 1.5}, 1e-6);
  CHECK(many.enough());
  slow.add({0.5, 1.5, 0.5, 1.5, 0.5}, 0.41);
  CHECK(slow.enough());
}

TEST_CASE("do one-sided outliers leave the median where it was?", "[profile]") {
  StopRule rule(StopLimits{});
  rule.add({1, 1, 1, 1, 1, 1, 1, 1, 50}, 1e-3);
  CHECK(rule.median() == 1);
  CHECK(rule.enough());
}

TEST_CASE("is a batch as long as asked for, and never more than what is left?", "[profile]") {
  StopRule rule(StopLimits{});
  rule.add({1, 2, 3, 4, 5}, 0.005);  // a millisecond each
  CHECK(rule.next_batch(0.01) == 10);
  CHECK(rule.next_batch(10) == 195);
  CHECK(rule.next_batch(1e-9) == 1);
}
