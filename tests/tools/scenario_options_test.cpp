#include "scenario_options.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {
Scenario parse(const std::vector<std::string>& args) {
  Options options("run", "");
  ScenarioOptions scenario(options);
  REQUIRE(options.parse(args));
  return scenario.resolve();
}
}  // namespace

TEST_CASE("do flags win over a pasted command, wherever they stand?") {
  const auto s =
      parse({"--max-num-seqs", "32", "-g", "h100", "--engine-args",
             "vllm serve meta-llama/Llama-3.1-8B --max-num-seqs 64 --block-size 32 --no-async-scheduling"});
  CHECK(s.model == "meta-llama/Llama-3.1-8B");
  CHECK(s.max_num_seqs == 32);
  CHECK(s.origin.at("max_num_seqs") == "flag");
  CHECK(s.block_size == 32);
  CHECK(s.async_scheduling == false);
}

TEST_CASE("is a pasted command read in the arguments of the engine that is asked for?") {
  const auto s = parse({"--engine", "sglang", "--engine-args", "--max-running-requests 9"});
  CHECK(s.engine == "sglang");
  CHECK(s.max_num_seqs == 9);
}

TEST_CASE("is a bad value of a setting a usage error that names its flag?") {
  Options options("run", "");
  ScenarioOptions scenario(options);
  try {
    (void)options.parse({"--gpu-memory-utilization", "1.5"});
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(e.code() == ExitCode::usage);
    CHECK_THAT(e.what(), Catch::StartsWith("--gpu-memory-utilization: expected at least 0.01 and at most 1"));
  }
}
