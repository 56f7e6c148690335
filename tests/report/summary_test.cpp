#include "report/summary.hpp"

#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

#include "ops/kernel_classes.hpp"
#include "report/confidence.hpp"
#include "report/events.hpp"
#include "report/metrics.hpp"
#include "report/schema.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

Summary typical(bool with_slo = true) {
  MetricsOptions options;
  if (with_slo) options.slo = parse_slo("ttft<=500ms@p95,attainment>=0.9");
  Metrics metrics(options);
  for (int i = 0; i < 20; ++i) {
    metrics.on_arrival(request(i, ms(10 * i)), {});
    metrics.on_decode_run(decode_run(ms(10 * i), ms(2), Ps(1000), 3, 2));
    metrics.on_request_done(record(i, ms(10 * i), ms(1), ms(20 + i), ms(5), 8));
  }
  metrics.on_end(ms(300));
  RunInfo info;
  info.model_id = "meta-llama/Llama-3.1-8B-Instruct";
  info.request_rate = std::numeric_limits<double>::infinity();
  info.usd_per_gpu_hour = 3.6;
  info.replicas = 2;
  return metrics.summary(info);
}

/// A cost model that only knows how wrong it is.
struct KnownError final : KernelCostModel {
  KernelTime price(const KernelCall&) const override { return {}; }
  ClassError error(const KernelClass&, Provenance p) const override {
    return {0, 0, p == Provenance::analytic ? 0.2 : 0.1};
  }
  std::vector<std::string> sources() const override { return {"a test"}; }
};
const KernelClass kFirst{"report_test_first", KernelClass::Scaling::tokens, {}, "for this test"};
const KernelClass kSecond{"report_test_second", KernelClass::Scaling::decode, {}, "for this test"};
const Registration<KernelClasses> first{"report_test_first", "for this test", &kFirst};
const Registration<KernelClasses> second{"report_test_second", "for this test", &kSecond};

}  // namespace

TEST_CASE("does summary.json keep to its schema and to vLLM's keys?") {
  auto s = typical();
  SECTION("as measured") {}
  SECTION("with error bars") {
    TimeShares shares;
    shares.by_class["report_test_first"] = 1;
    shares.by_provenance[0] = 1;
    shares.by_class_provenance[{"report_test_first", Provenance::measured}] = 1;
    add_confidence(s, shares, KnownError{}, 0.05);
  }
  SECTION("of a run in which nothing completed") {
    Metrics empty;
    empty.on_end(Ps(0));
    s = empty.summary();
  }
  const auto json = nlohmann::json::parse(to_json(s).dump());
  for (const auto& e : Schema("summary.schema.json").errors(json)) FAIL_CHECK(e);
}

TEST_CASE("are vLLM's keys spelt as vLLM spells them?") {
  const auto json = to_json(typical());
  for (const char* key : {"duration",
                          "completed",
                          "failed",
                          "total_input_tokens",
                          "total_output_tokens",
                          "request_throughput",
                          "request_goodput",
                          "output_throughput",
                          "total_token_throughput",
                          "max_output_tokens_per_s",
                          "max_concurrent_requests",
                          "mean_ttft_ms",
                          "median_ttft_ms",
                          "std_ttft_ms",
                          "p99_ttft_ms",
                          "p99.9_ttft_ms",
                          "p95_ttft_ms",
                          "mean_tpot_ms",
                          "p99_tpot_ms",
                          "mean_itl_ms",
                          "p99_itl_ms",
                          "mean_e2el_ms",
                          "p90_e2el_ms"}) {
    CHECK(json.contains(key));
  }
  CHECK(json["request_rate"] == "inf");
  CHECK(json["max_concurrency"].is_null());
  CHECK_FALSE(json.contains("date"));
  CHECK(to_json(typical(false))["request_goodput"].is_null());
}

TEST_CASE("what do a million output tokens cost?") {
  const auto s = typical();
  // Two GPUs at $3.60/h are $0.002 a second.
  CHECK(*s.usd_per_million_output_tokens == Approx(0.002 / s.output_throughput * 1e6));
}

TEST_CASE("do error bars add within a kernel class and across classes in quadrature?") {
  auto s = typical();
  TimeShares shares;
  shares.by_class["report_test_first"] = 3, shares.by_class["report_test_second"] = 5;
  shares.host = 2;
  shares.by_provenance = {6, 0, 0, 2};
  shares.by_class_provenance[{"report_test_first", Provenance::measured}] = 1;
  shares.by_class_provenance[{"report_test_first", Provenance::analytic}] = 2;
  shares.by_class_provenance[{"report_test_second", Provenance::measured}] = 5;
  add_confidence(s, shares, KnownError{}, 0.03, 0.9);
  REQUIRE(s.confidence);
  const double first_class = 0.1 * 0.1 + 0.2 * 0.2;  // share times sigma, one factor: they add
  const double second_class = 0.5 * 0.1;
  const double sigma = std::sqrt(first_class * first_class + second_class * second_class + 0.03 * 0.03);
  CHECK(s.confidence->step_time_error == Approx(std::exp(1.6449 * sigma) - 1).epsilon(1e-4));
  CHECK(s.confidence->by_provenance.at("analytic") == Approx(0.25));
  CHECK(s.confidence->by_class.at("host") == Approx(0.2));
  const auto& tpot = s[Metric::tpot];
  CHECK(tpot.mean_interval->high == Approx(tpot.mean * (1 + s.confidence->step_time_error)));
  // All requests were offered at once: a slower server serves fewer of them.
  CHECK(s.request_throughput_interval->low < s.request_throughput);
}

TEST_CASE("are waits near saturation less sure than steps, and those of a closed loop as sure?") {
  auto s = typical();
  s.info.max_num_seqs = 100;
  s[Metric::ttft].mean = 100, s.front_end_ms = 10, s.queue_ms = 60, s.prefill_ms = 30;
  s.running.mean = 80;  // 80% of the slots: waits change five times as much as steps
  TimeShares shares;
  shares.by_class["report_test_first"] = 1;
  shares.by_class_provenance[{"report_test_first", Provenance::measured}] = 1;
  const auto log_width = [&] {
    add_confidence(s, shares, KnownError{}, 0, 0.9);
    return std::log(s[Metric::ttft].mean_interval->high / 100);
  };
  const double step = 1.6449 * 0.1;
  s.info.request_rate = 5;
  CHECK(log_width() == Approx(step * (0.6 * 5 + 0.3)).epsilon(1e-3));
  s.duration_s = 50, s.drain_s = 0;
  log_width();
  CHECK(s.request_throughput_interval->low == Approx(s.request_throughput));  // what arrives is served
  s.drain_s = 20;  // but a queue that is worked off for 40% of the run takes as long as its steps do
  log_width();
  CHECK(std::log(s.request_throughput / s.request_throughput_interval->low) ==
        Approx(step * 0.4).epsilon(1e-3));
  s.info.max_concurrency = 64;
  CHECK(log_width() == Approx(step * 0.9).epsilon(1e-3));
}
