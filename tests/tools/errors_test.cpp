#include "errors.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

TEST_CASE("does an error show the place, the line with a caret, the hint and the exit code?") {
  ConfigError e("GeneratedTokens: expected an integer, found \"12a\"",
                "skip bad rows with --on-bad-row skip");
  e.at("traces/azure.csv", 1042, 28, "2023-11-16 18:22:10.1930000,12a");
  CHECK(render_error(e) ==
        "error: traces/azure.csv:1042:28: GeneratedTokens: expected an integer, found \"12a\"\n"
        "   1042 | 2023-11-16 18:22:10.1930000,12a\n"
        "        |                            ^\n"
        "  hint: skip bad rows with --on-bad-row skip  [exit 3]\n");
}

TEST_CASE("is an error without a place or a hint one line?") {
  CHECK(render_error(ConfigError("no model is given", {}, ExitCode::usage)) ==
        "error: no model is given  [exit 2]\n");
  ConfigError placed("unknown key 'x'");
  placed.at("s.json", 3);
  CHECK(render_error(placed) == "error: s.json:3: unknown key 'x'  [exit 3]\n");
}

TEST_CASE("is a very long or binary line cut around the column?") {
  ConfigError e("bad");
  e.at("f", 1, 500, std::string(499, 'a') + "X" + std::string(5000, 'b') + '\x01');
  const auto text = render_error(e);
  CHECK(text.size() < 300);
  CHECK_THAT(text, Catch::Contains("aX"));
  CHECK(text.find('\x01') == std::string::npos);
}
