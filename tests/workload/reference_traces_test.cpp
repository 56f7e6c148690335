#include <catch2/catch.hpp>

#include "support/reference_data.hpp"
#include "workload/source.hpp"
#include "workload/trace_stats.hpp"

using namespace orrery;

namespace {
TraceStats stats_of(const WorkloadSpec& spec) {
  const auto source = make_source(spec, 1);
  return trace_stats(*source);
}
}  // namespace

// Published figures: github.com/Azure/AzurePublicDataset and github.com/kvcache-ai/Mooncake.
TEST_CASE("does the Azure 2023 conversation trace have its published statistics?") {
  REQUIRE_REFERENCE_DATA(data);
  WorkloadSpec spec;
  spec.trace = data + "/traces/azure2023_conv.csv";
  const auto s = stats_of(spec);
  CHECK(s.requests() == 19366);
  CHECK(s.duration_s == Approx(3501.7).margin(0.1));
  CHECK(s.rate == Approx(5.53).margin(0.005));
  CHECK(s.interarrival_cv == Approx(1.09).margin(0.005));
  const std::vector<std::pair<double, double>> input{{0.5, 1020}, {0.9, 2734}, {0.99, 4142}, {1, 14050}};
  const std::vector<std::pair<double, double>> output{{0.5, 129}, {0.9, 424}, {0.99, 601}, {1, 1000}};
  for (const auto& [p, v] : input) CHECK(s.input.quantile(p) == Approx(v).margin(0.5));
  for (const auto& [p, v] : output) CHECK(s.output.quantile(p) == Approx(v).margin(0.5));
  CHECK(s.with_prefix == 0);
  CHECK(s.tick_s == 0);

  spec.target_rps = 20;
  spec.loop = 2;
  const auto faster = stats_of(spec);
  CHECK(faster.requests() == 2 * 19366);
  CHECK(faster.rate == Approx(20).epsilon(1e-6));
  CHECK(faster.interarrival_cv == Approx(s.interarrival_cv).epsilon(1e-3));
}

TEST_CASE("does the Mooncake conversation trace have its published prefix reuse and coarse clock?") {
  REQUIRE_REFERENCE_DATA(data);
  WorkloadSpec spec;
  spec.trace = data + "/traces/mooncake_conversation.jsonl";
  const auto s = stats_of(spec);
  CHECK(s.requests() == 12031);
  CHECK(s.with_prefix == 12031);
  CHECK(s.reused_fraction() == Approx(0.374).margin(0.0005));
  CHECK(s.distinct_times == 1180);
  CHECK(s.tick_s == Approx(3.0).margin(0.01));
  CHECK(s.input.quantile(1) == 126195);

  spec.read.spread_ties = SpreadTies::poisson;
  const auto spread = stats_of(spec);
  CHECK(spread.tick_s == 0);
  CHECK(spread.interarrival_cv == Approx(1).margin(0.1));
  CHECK(spread.reused_fraction() == s.reused_fraction());
}

TEST_CASE("are the length-only and the nanosecond traces read?") {
  REQUIRE_REFERENCE_DATA(data);
  WorkloadSpec spec;
  spec.trace = data + "/traces/vidur_arxiv_summarization.csv";
  CHECK(stats_of(spec).requests() == 28257);
  spec.trace = data + "/traces/apex_llama_creation_025.csv";
  CHECK(stats_of(spec).requests() == 512);
}
