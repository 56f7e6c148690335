#include "settings.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;
using namespace orrery::profile;

TEST_CASE("are the collector's options understood in both spellings?", "[profile]") {
  const auto s = parse_arguments({"--budget", "8m", "--only=gemm,attention_decode", "--out", "x", "--check"});
  CHECK(s.budget_s == 480);
  CHECK(s.only == std::vector<std::string>{"gemm", "attention_decode"});
  CHECK(s.out == "x");
  CHECK(s.check);
  CHECK(parse_arguments({"--budget", "90s"}).budget_s == 90);
  CHECK(parse_arguments({"--budget", "1.5h"}).budget_s == 5400);
  CHECK(parse_arguments({"--quick"}).budget_s == 90);
  CHECK(parse_arguments({"--quick", "--budget=10"}).budget_s == 10);
}

TEST_CASE("is a slip on the collector's command line a usage error with a hint?", "[profile]") {
  const std::vector<std::vector<std::string>> slips = {
      {"--bugdet", "8m"},      {"--budget"},
      {"--budget", "soon"},    {"--budget", "-3m"},
      {"--budget", "8mm"},     {"--check=yes"},
      {"--dry-run", "--list"}, {"gemm"},
      {"--only", ","},         {"--compare", "x", "--dry-run"}};
  for (const auto& slip : slips) {
    INFO(slip.front());
    try {
      parse_arguments(slip);
      FAIL("accepted");
    } catch (const ConfigError& e) {
      CHECK(e.code() == ExitCode::usage);
      CHECK_FALSE(e.hint().empty());
    }
  }
}
