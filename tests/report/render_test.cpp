#include "report/render.hpp"

#include <sstream>

#include <catch2/catch.hpp>

#include "report/text.hpp"

using namespace orrery;

namespace {

MetricStats stats(double mean, std::vector<std::pair<double, double>> percentiles) {
  MetricStats s;
  s.samples = 19366;
  s.mean = mean, s.median = percentiles[0].second;
  s.percentiles = std::move(percentiles);
  return s;
}

Summary sample() {
  Summary s;
  s.info.gpu = "h200-sxm";
  s.info.workload = "azure-conv-2023";
  s.info.max_num_seqs = 1024;
  s.info.kv_capacity_tokens = 842000;
  s.completed = 19366;
  s.request_throughput = 5.53, s.output_throughput = 1167, s.total_token_throughput = 7554;
  s.max_output_tokens_per_s = 2410;
  s.request_goodput = 5.53, s.attainment = 1.0;
  s.simulated_s = 3504;
  s[Metric::ttft] = stats(24.9, {{50, 22.1}, {90, 46.0}, {99, 96.2}, {99.9, 171.4}});
  s[Metric::tpot] = stats(5.4, {{50, 5.2}, {90, 6.3}, {99, 8.1}, {99.9, 10.7}});
  s[Metric::itl] = stats(5.4, {{50, 5.0}, {90, 6.1}, {99, 21.8}, {99.9, 44.9}});
  s[Metric::e2el] = stats(1160, {{50, 700}, {90, 2360}, {99, 3410}, {99.9, 4770}});
  s.gpu = {{1170, 290, 2044}};
  s.running = {8, 17, 40}, s.kv_used = {0.01, 0.03, 0.05};
  const auto slo = parse_slo("ttft<=500ms@p99,tpot<=30ms@p99");
  s.slo = {{slo.terms[0], 96.2, true}, {slo.terms[1], 8.1, true}};
  return s;
}

}  // namespace

TEST_CASE("does the terminal say the verdict first and then the table?") {
  RenderOptions options;
  options.wall_s = 0.12, options.width = 120;
  CHECK(
      render_verdict_and_table(sample(), options) ==
      R"( PASS  1× H200 (tp1) serves azure-conv-2023 (5.53 req/s, 19,366 requests, 58.4 min simulated in 120 ms)
        TTFT p99 96.2 ms ≤ 500    TPOT p99 8.10 ms ≤ 30    goodput 5.53 req/s (100.0 %)
 metric            mean      p50      p90      p99    p99.9
 TTFT       ms     24.9     22.1     46.0     96.2    171.4
 TPOT       ms     5.40     5.20     6.30     8.10    10.70
 ITL        ms     5.40     5.00     6.10    21.80    44.90
 E2E         s     1.16     0.70     2.36     3.41     4.77
 throughput   5.53 req/s · 1,167 out tok/s · 7,554 total tok/s · peak 2,410 out tok/s in 1 s
 TTFT is      front end 0.000 ms · queue 0.000 ms · prefill 0.000 ms
 load         running p99 17 (limit 1,024) · waiting p99 0 · KV used p99 3 % of 842,000 tokens · preemptions 0
 GPU time     decode 33 % · prefill 8 % · idle 58 %
)");
}

TEST_CASE("are a miss, an overload and an empty run each said plainly?") {
  auto s = sample();
  SECTION("a miss shows by how much") {
    s.slo[0].value = 612, s.slo[0].pass = false;
    const auto text = render_verdict_and_table(s);
    CHECK_THAT(text, Catch::StartsWith(" FAIL  1× H200 (tp1) misses the SLO on azure-conv-2023"));
    CHECK_THAT(text, Catch::Contains("TTFT p99 612 ms > 500"));
  }
  SECTION("overload comes before any SLO") {
    s.stability = {true, true, 25, 17.1, 7.9, 40};
    CHECK_THAT(render_verdict(s), Catch::StartsWith(" UNSTABLE  ") && Catch::Contains("25.0 req/s arrive"));
  }
  SECTION("without an SLO there is nothing to pass") {
    s.slo.clear();
    CHECK_THAT(render_verdict(s), Catch::StartsWith(" 1× H200 (tp1) serves"));
  }
  SECTION("nothing completed") {
    s.completed = 0, s.failed = 3;
    CHECK_THAT(render_verdict_and_table(s),
               Catch::Contains("completed no request") && !Catch::Contains("metric"));
  }
  SECTION("interrupted") {
    s.interrupted = true, s.unfinished = 12;
    CHECK_THAT(render_verdict_and_table(s), Catch::Contains("interrupted: these are the 19,366 requests"));
  }
}

TEST_CASE("does the output fit the terminal it is for?") {
  RenderOptions options;
  auto s = sample();
  s.warnings = {
      "p99.9 from 300 requests is one sample; simulate 10000 or more (a longer run), or leave it out."};
  SECTION("a narrow one") {
    options.width = 72;
    std::istringstream lines(render_verdict_and_table(s, options));
    for (std::string line; std::getline(lines, line);) CHECK(display_width(line) <= 72);
  }
  SECTION("one without UTF-8") {
    options.ascii = true;
    for (const char c : render_verdict_and_table(s, options)) CHECK(static_cast<unsigned char>(c) < 128);
  }
  SECTION("one with colour: the same characters, and escapes that end") {
    options.color = true;
    const auto coloured = render_verdict_and_table(s, options);
    CHECK_THAT(coloured, Catch::Contains("\033[32;1mPASS\033[0m"));
    options.color = false;
    CHECK(display_width(coloured) == display_width(render_verdict_and_table(s, options)));
  }
}

TEST_CASE("are numbers written for people?") {
  CHECK(grouped(std::int64_t{1234567}) == "1,234,567");
  CHECK(grouped(-1234.56, 1) == "-1,234.6");
  CHECK(grouped(999.4, 0) == "999");
  CHECK(brief(12930) == "12,930");
  CHECK(brief(0.0521) == "0.052");
  CHECK(percent(0.994) == "99.4 %");
  CHECK(percent(1) == "100 %");
  CHECK(duration_text(0.05) == "50.0 ms");
  CHECK(duration_text(3504) == "58.4 min");
  CHECK(duration_text(8 * 86400) == "8.00 d");
}
