#include <filesystem>
#include <map>

#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"
#include "workload/trace_stats.hpp"

using namespace orrery;

TEST_CASE("is every shipped sample told by its format and read whole?") {
  const std::map<std::string, std::pair<std::string, int>> expected{
      {"aiperf_sessions.jsonl", {"mooncake", 18}},
      {"apex.csv", {"apex", 24}},
      {"azure_2023.csv", {"azure", 24}},
      {"azure_2024.csv", {"azure", 24}},
      {"azure_2025.csv", {"azure", 24}},
      {"burstgpt.csv", {"burstgpt", 23}},  // one of 24 failed
      {"llmservingsim.jsonl", {"llmservingsim", 24}},
      {"mooncake.jsonl", {"mooncake", 24}},
      {"sharegpt.json", {"sharegpt", 7}},  // one of 8 has a single turn
      {"vidur.csv", {"vidur", 24}},
      {"vidur_lengths.csv", {"vidur", 24}},
      {"vllm_custom.jsonl", {"vllm-custom", 8}},
  };
  std::size_t samples = 0;
  for (const auto& file : std::filesystem::directory_iterator(ORRERY_SOURCE_DIR "/traces/samples")) {
    const std::string name = file.path().filename();
    INFO(name);
    if (file.path().extension() == ".yaml") continue;
    ++samples;
    REQUIRE(expected.count(name) == 1);
    const auto& [format, requests] = expected.at(name);
    CHECK(trace_format(ByteSource::file(file.path()), {}) == format);
    WorkloadSpec spec;
    spec.trace = file.path();
    const auto source = make_source(spec, 1);
    CHECK(trace_stats(*source).requests() == requests);
  }
  CHECK(samples == expected.size());
}
