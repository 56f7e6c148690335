#include "base/json.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

namespace {
JsonView view(const std::string& text) {
  return JsonView(JsonDocument::parse(text, "test.json"));
}
}  // namespace

TEST_CASE("is an unknown key refused with the nearest known one, and its line?") {
  auto v = view("{\n \"bandwith_bytes_per_s\": 1,\n \"sm_count\": 132\n}");
  CHECK(v.integer("sm_count") == 132);
  CHECK_FALSE(v.has("bandwidth_bytes_per_s"));
  try {
    v.finish();
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(e.hint() == "did you mean 'bandwidth_bytes_per_s'?");
    CHECK(e.line() == 2);
  }
}

TEST_CASE("are wrong types and missing keys named with what was found?") {
  auto v = view("{\"a\": {\"n\": \"12\"}}");
  auto a = v.object("a");
  CHECK_THROWS_WITH(a.integer("n"), "a/n: expected an integer, found \"12\"");
  CHECK_THROWS_WITH(a.number("m"), "a: missing required key 'm'");
  CHECK_THROWS_WITH(view("[1]"), "the file: expected an object, found [1]");
}

TEST_CASE("are Python's bare Infinity and NaN read as null, and text left alone?") {
  auto v = view(R"({"limit": [0.0, Infinity], "x": NaN, "y": -Infinity, "s": "NaN and \"Infinity\""})");
  CHECK_FALSE(v.has("x"));
  CHECK_FALSE(v.has("y"));
  CHECK(v.raw("limit")[1].is_null());
  CHECK(v.text("s") == "NaN and \"Infinity\"");
}

TEST_CASE("does text that is not JSON say where it stops being so?") {
  try {
    JsonDocument::parse("{\n  \"a\": 1,\n  \"b\" 2\n}", "x.json");
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(e.line() == 3);
    CHECK(e.file() == "x.json");
  }
  CHECK_THROWS_WITH(view("{\"a\": 1e999}"), "a number is too large for a double");
}
