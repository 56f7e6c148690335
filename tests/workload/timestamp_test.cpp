#include "workload/timestamp.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

TEST_CASE("are the time stamps of all Azure years read?") {
  constexpr std::int64_t s = 1'000'000'000;
  CHECK(parse_timestamp_ns("1970-01-01 00:00:00") == 0);
  CHECK(parse_timestamp_ns("2023-11-16 18:15:46.6805900") == 1'700'158'546 * s + 680'590'000);  // date -u +%s
  CHECK(parse_timestamp_ns("2024-05-10 00:00:00.009930+00:00") == 1'715'299'200 * s + 9'930'000);
  CHECK(parse_timestamp_ns("2024-05-10 00:00:00+00:00") == 1'715'299'200 * s);
  CHECK(parse_timestamp_ns("2024-10-15T12:00:00.269Z") == 1'728'993'600 * s + 269'000'000);
  CHECK(parse_timestamp_ns("2024-10-15T14:00:00+02:00") == 1'728'993'600 * s);
  CHECK(parse_timestamp_ns("2024-10-15T14:00:00+0200") == 1'728'993'600 * s);
  CHECK(parse_timestamp_ns("2024-02-29 00:00:00.123456789") == 1'709'164'800 * s + 123'456'789);
}

TEST_CASE("is anything that is no time refused?") {
  for (const char* text :
       {"", "nan", "12345", "2023-11-16", "2023-13-01 00:00:00", "2023-02-29 00:00:00", "2023-11-16 24:00:00",
        "2023-11-16 18:60:00", "2023-11-16 18:15:46.", "2023-11-16 18:15:46.1234567890",
        "2023-11-16 18:15:46 ", "2023-11-16 18:15:46+1", "2023-11-16 18:15:46+25:00", "2023/11/16 18:15:46",
        "2023-11-16 18:15:4x", "9999-01-01 00:00:00"}) {
    INFO(text);
    CHECK_FALSE(parse_timestamp_ns(text));
  }
}

TEST_CASE("is a written time stamp read back?") {
  const char* text = "2023-11-16 18:15:46.6805900";
  CHECK(format_timestamp(*parse_timestamp_ns(text)) == text);
}
