#include "report/slo.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

TEST_CASE("does an SLO mean what it says?") {
  const auto slo = parse_slo("ttft<=500ms@p99,tpot<=0.03s@p95,e2e<=3s@mean,itl<=50,attainment>=95%");
  REQUIRE(slo.terms.size() == 5);
  CHECK(slo.terms[0].text == "ttft<=500ms@p99");
  CHECK(slo.terms[1].limit == Approx(30));
  CHECK(slo.terms[1].percentile == 95);
  CHECK(slo.terms[2].over == SloTerm::Over::mean);
  CHECK(slo.terms[2].limit == Approx(3000));
  CHECK(slo.terms[3].text == "itl<=50ms@p99");
  CHECK(slo.terms[4].target == SloTerm::Target::attainment);
  CHECK(slo.terms[4].limit == Approx(0.95));
  CHECK(*slo.threshold_ms(Metric::ttft) == 500);
  CHECK_FALSE(slo.threshold_ms(Metric::itl));
  CHECK(slo.percentiles() == std::vector<double>{99, 95, 99});
}

TEST_CASE("are the other benchmarks' names and vLLM's goodput form read?") {
  const auto slo = parse_slo("ttft:500 tpot:30 e2el:3000");
  REQUIRE(slo.terms.size() == 3);
  for (const auto& t : slo.terms) CHECK(t.over == SloTerm::Over::requests);
  CHECK(*slo.threshold_ms(Metric::e2el) == 3000);
  CHECK(slo.percentiles().empty());
  CHECK(parse_slo("time_to_first_token<=1s").terms[0].metric == Metric::ttft);
  CHECK(parse_slo("inter_token_latency<=30ms").terms[0].metric == Metric::tpot);  // aiperf's sense
  CHECK(parse_slo("inter_chunk_latency<=30ms").terms[0].metric == Metric::itl);
  CHECK(parse_slo("request_latency<=3s").terms[0].metric == Metric::e2el);
}

TEST_CASE("are MLPerf's limits available by name?") {
  const auto slo = parse_slo("mlperf:llama3.1-8b-interactive");
  REQUIRE(slo.terms.size() == 2);
  CHECK(slo.terms[0].text == "ttft<=500ms@p99");
  CHECK(slo.terms[1].text == "tpot<=30ms@p99");
  CHECK(slo_presets().size() == 9);
}

TEST_CASE("is a wrong SLO refused with what would be right?") {
  const auto message = [](const std::string& text) {
    try {
      parse_slo(text);
    } catch (const ConfigError& e) {
      CHECK(e.code() == ExitCode::usage);
      return std::string(e.what()) + " / " + e.hint();
    }
    return std::string("accepted");
  };
  CHECK_THAT(message("tftt<=500ms"), Catch::Contains("unknown metric 'tftt'") && Catch::Contains("ttft"));
  CHECK_THAT(message("ttft<=500m"), Catch::Contains("unknown unit 'm'"));
  CHECK_THAT(message("ttft<=fast"), Catch::Contains("expected a number, found 'fast'"));
  CHECK_THAT(message("ttft<=-1"), Catch::Contains("negative"));
  CHECK_THAT(message("ttft<=nan"), Catch::Contains("expected a number"));
  CHECK_THAT(message("ttft>=5"), Catch::Contains("use <="));
  CHECK_THAT(message("ttft<=5@p101"), Catch::Contains("unknown statistic '@p101'"));
  CHECK_THAT(message("attainment>=0.9"), Catch::Contains("need a latency"));
  CHECK_THAT(message("ttft<=5,attainment>=95"), Catch::Contains("share of requests"));
  CHECK_THAT(message("itl:50"), Catch::Contains("no value per request"));
  CHECK_THAT(message("mlperf:llama3-8b"), Catch::Contains("unknown MLPerf preset"));
  CHECK_THAT(message("ttft"), Catch::Contains("expected METRIC<=LIMIT"));
}
