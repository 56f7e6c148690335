#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"
#include "workload/trace_stats.hpp"
#include "workload/trace_writer.hpp"

using namespace orrery;

TEST_CASE("is a workload that was written read back as it was?") {
  WorkloadSpec spec;
  spec.num_prompts = 3000;
  spec.request_rate = 12;
  spec.random_range_ratio = 0.1;
  spec.prefix.groups = 3, spec.prefix.users = 4, spec.prefix.system_tokens = 1024,
  spec.prefix.question_tokens = 700;
  spec.prefix.block_tokens = 512;
  for (const auto& format : Registry<TraceWriters>::names()) {
    INFO(format);
    std::string text;
    const auto written = make_source(spec, 1);
    CHECK(write_trace(*written, format, [&](const std::string& piece) { text += piece; }) == 3000);

    const auto again = make_source(spec, 1);
    const auto all = replay(text);
    REQUIRE(all.size() == 3000);
    Request original;
    again->next(original);
    const Ps first = original.arrival;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i > 0) again->next(original);
      CHECK(all[i].prompt_tokens == original.prompt_tokens);
      CHECK(all[i].output_tokens == original.output_tokens);
      CHECK(std::abs((all[i].arrival - (original.arrival - first)).value) <= 200'000);  // Azure counts 100 ns
      if (format == "mooncake") CHECK(all[i].prefix->ids == original.prefix->ids);
    }
  }
  CHECK(Registry<TraceWriters>::names() ==
        std::vector<std::string>{"azure", "llmservingsim", "mooncake", "vidur"});
}

TEST_CASE("are quantiles of counts those of the sorted sample?") {
  LengthCounts counts;
  for (const int v : {30, 10, 5'000'000, 20}) counts.add(v);
  CHECK(counts.quantile(0) == 10);
  CHECK(counts.quantile(0.5) == 25);
  CHECK(counts.quantile(1) == 5'000'000);
  CHECK(counts.mean() == Approx(1'250'015));
  CHECK(std::isnan(LengthCounts{}.quantile(0.5)));
}

TEST_CASE("are repeated rows and reused prefix tokens counted?") {
  const std::string text =
      R"({"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]})"
      "\n"
      R"({"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]})"
      "\n"
      R"({"timestamp": 5, "input_length": 1100, "output_length": 5, "hash_ids": [1, 4, 3]})"
      "\n";
  const auto source = make_trace_source({}, ByteSource::memory(text, "trace"), 1);
  const auto s = trace_stats(*source);
  CHECK(s.repeated_rows == 1);
  CHECK(s.reused_tokens == 1100 + 512);  // the whole second prompt, one block of the third
}
