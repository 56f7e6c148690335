#include "scenario/value_forms.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

TEST_CASE("are vLLM's human-readable counts understood?") {
  CHECK(parse_count("8192") == 8192);
  CHECK(parse_count("8k") == 8000);
  CHECK(parse_count("8K") == 8192);
  CHECK(parse_count("25.6k") == 25600);
  CHECK(parse_count("1m") == 1'000'000);
  CHECK(parse_count("1M") == 1'048'576);
  CHECK(parse_count("2G") == 2'147'483'648);
}

TEST_CASE("is a count that is not one refused?") {
  for (const auto* text :
       {"", "k", "8kk", "8 k", "1.5", "25.6K", "1.2345k", "0x10", "12a", "nan", "inf", "1e30"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_count(text), ConfigError);
  }
  CHECK_THROWS_WITH(parse_integer("0", 1, 10), Catch::Contains("at least 1"));
  CHECK(parse_integer("10", 1, 10) == 10);
  CHECK_THROWS_AS(parse_integer("11", 1, 10), ConfigError);
}

TEST_CASE("are durations read with their units, alone and summed?") {
  CHECK(parse_duration_s("90") == 90);
  CHECK(parse_duration_s("30s") == 30);
  CHECK(parse_duration_s("500ms") == Approx(0.5));
  CHECK(parse_duration_s("20m") == 1200);
  CHECK(parse_duration_s("1.5h") == 5400);
  CHECK(parse_duration_s("1h30m") == 5400);
  CHECK(parse_duration_s("0") == 0);
  for (const auto* text : {"", "s", "5 parsecs", "-1s", "10 s", "1h30", "nan", "inf", "107d", "1.5.2s"}) {
    INFO(text);
    if (std::string(text) == "1h30") {
      CHECK(parse_duration_s(text) == 3630);  // a bare last number is seconds
    } else {
      CHECK_THROWS_AS(parse_duration_s(text), ConfigError);
    }
  }
}

TEST_CASE("is a rate finite or inf, and never negative or NaN?") {
  CHECK(parse_rate("12.5") == 12.5);
  CHECK(std::isinf(parse_rate("inf")));
  for (const auto* text : {"nan", "-1", "-inf", "", "1e999", "fast"})
    CHECK_THROWS_AS(parse_rate(text), ConfigError);
}
