#include "report/fairness.hpp"

#include <catch2/catch.hpp>

#include "report/events.hpp"
#include "report/metrics.hpp"
#include "report/render.hpp"
#include "report/schema.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

/// Sends requests and lets each wait as it is told before it takes 100 ms to its first token and 10 ms to
/// each of its other nine.
class Served {
 public:
  explicit Served(MetricsOptions options = {}) : metrics_(std::move(options)) {}

  void request(std::int32_t client, std::int32_t priority, Ps arrival, Ps wait,
               const char* failure = nullptr) {
    Request asked = testing::request(next_, arrival);
    asked.client = client, asked.priority = priority;
    metrics_.on_arrival(asked, {});
    RequestRecord r = record(next_++, arrival, wait, ms(100), ms(10), 10);
    r.client = client, r.priority = priority, r.failure = failure;
    records_.push_back(r);
  }
  /// All that were sent are completed, in that order.
  void complete() {
    for (const RequestRecord& r : records_) metrics_.on_request_done(r);
    records_.clear();
  }
  Summary summary() {
    complete();
    metrics_.on_end(seconds(10));
    return metrics_.summary();
  }

 private:
  Metrics metrics_;
  std::vector<RequestRecord> records_;
  RequestId next_ = 0;
};

}  // namespace

// Jain, Chiu and Hawe 1984, section 4: k of n users who share everything evenly have k/n; their example of
// allocations.
TEST_CASE("is Jain's index k/n where k of n have all, and 1 where all have the same?") {
  CHECK(*jain_index(std::vector<double>{3, 3, 3, 3}) == Approx(1));
  CHECK(*jain_index(std::vector<double>{5, 0, 0, 0}) == Approx(0.25));
  CHECK(*jain_index(std::vector<double>{2, 2, 0, 0, 0}) == Approx(0.4));
  CHECK_FALSE(jain_index(std::vector<double>{0, 0}).has_value());
}

TEST_CASE("what does a run say of its priorities and its clients?") {
  MetricsOptions options;
  options.slo = parse_slo("ttft<=500ms");
  Served run(options);
  for (int i = 0; i < 100; ++i) {
    run.request(0, 0, ms(20 * i), ms(0));
    run.request(1, 1, ms(20 * i), ms(570));  // E2E 760 ms, of it 190 ms served: slowdown 4
  }
  run.request(1, 1, ms(2000), ms(0), "too long");
  const Summary s = run.summary();
  REQUIRE(s.fairness.classes.size() == 2);
  const GroupStats &high = s.fairness.classes[0], &low = s.fairness.classes[1];
  CHECK(high.id == 0);
  CHECK(high.completed == 100);
  CHECK(low.failed == 1);
  CHECK(high.output_tokens == 1000);
  CHECK(high.mean_ttft_ms == Approx(100));
  CHECK(low.p99_ttft_ms == Approx(670));
  CHECK(low.mean_tpot_ms == Approx(10));
  CHECK(*high.attainment == 1);
  CHECK(*low.attainment == 0);
  CHECK(s.fairness.clients == 2);
  REQUIRE(s.fairness.worst_clients.size() == 2);
  CHECK(s.fairness.worst_clients[0].id == 1);
  CHECK(s.fairness.worst_clients[0].mean_slowdown == Approx(4));
  CHECK(s.fairness.worst_clients[0].p99_ttft_ms == Approx(670).epsilon(0.02));
  CHECK(*s.fairness.jain_slowdown == Approx(25.0 / (2 * 17)));  // of 1 and 4
  const auto json = nlohmann::json::parse(to_json(s).dump());
  for (const auto& e : Schema("summary.schema.json").errors(json)) FAIL_CHECK(e);
  const std::string text = render_verdict_and_table(s);
  CHECK_THAT(text, Catch::Contains("priority 1") && Catch::Contains("client 1") && Catch::Contains("0.735"));
}

TEST_CASE("do tokens count as a fair share only where they were served while others still came?") {
  Served run;
  run.request(0, 0, ms(0), ms(0)), run.request(0, 0, ms(0), ms(0));
  run.complete();
  run.request(1, 0, ms(1000), ms(0)), run.request(1, 0, ms(1000), ms(0));
  const Summary s = run.summary();  // in the end both had the same
  CHECK(*s.fairness.jain_tokens == Approx(0.5));
}

TEST_CASE("is nothing said of clients and priorities where there is one of each?") {
  Served run;
  for (int i = 0; i < 5; ++i) run.request(i % 2 == 0 ? 3 : -1, 2, ms(i), ms(0));
  const Summary s = run.summary();
  CHECK(s.fairness.classes.empty());
  CHECK(s.fairness.clients == 0);
  CHECK_FALSE(to_json(s)["orrery"].contains("fairness"));
}

TEST_CASE("are the classes' requests all the requests, whichever priority comes first?") {
  Served run;
  for (int i = 0; i < 30; ++i) run.request(-1, i < 10 ? 7 : i % 3, ms(i), ms(i));
  const Summary s = run.summary();
  std::int64_t completed = 0, tokens = 0;
  double ttft = 0;
  for (const GroupStats& g : s.fairness.classes) {
    completed += g.completed, tokens += g.input_tokens;
    ttft += g.mean_ttft_ms * static_cast<double>(g.completed);
  }
  CHECK(s.fairness.classes.size() == 4);
  CHECK(completed == s.completed);
  CHECK(tokens == s.total_input_tokens);
  CHECK(ttft / 30 == Approx(s[Metric::ttft].mean));
}

TEST_CASE("are clients beyond those told apart counted as such?") {
  Served run;
  for (const std::int32_t client : {0, 1, 2000, 70000, 80000}) run.request(client, 0, ms(client), ms(0));
  const Summary s = run.summary();
  CHECK(s.fairness.clients == 3);
  CHECK(s.fairness.uncounted_requests == 2);
  CHECK(std::isnan(s.fairness.worst_clients[2].p99_ttft_ms));  // client 2000: means only
}
