#include "report/details.hpp"

#include <algorithm>
#include <random>

#include <catch2/catch.hpp>

#include "report/events.hpp"
#include "report/metrics.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

/// Requests of random lengths: a log-normal queue, prompt and answer.
std::vector<RequestRecord> random_requests(int count) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> queue(2, 1.5), prefill(3, 0.7), gap(1.5, 0.5);
  std::vector<RequestRecord> out;
  for (int i = 0; i < count; ++i) {
    auto r = record(i, seconds(0.1 * i), ms(queue(random)), ms(prefill(random)), ms(gap(random)),
                    1 + static_cast<std::int64_t>(random() % 300));
    out.push_back(r);
  }
  return out;
}

double e2el(const RequestRecord& r) {
  return to_ms(r.done - r.arrival);
}

}  // namespace

TEST_CASE("do the parts of a band sum to the mean latency of its requests?") {
  auto requests = random_requests(5000);
  Details details;
  for (const auto& r : requests) details.on_request_done(r);
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return e2el(a) < e2el(b); });
  const OrderedJson json = details.json()["bands"]["e2el"];
  REQUIRE(json.size() == 4);
  std::int64_t seen = 0;
  for (const auto& band : json) {
    double parts = 0, expected = 0;
    for (const char* part : {"front_end_ms", "queue_ms", "prefill_ms", "transfer_ms", "decode_ms"})
      parts += band[part].get<double>();
    const auto n = band["requests"].get<std::int64_t>();
    for (std::int64_t i = seen; i < seen + n; ++i) expected += e2el(requests[static_cast<std::size_t>(i)]);
    seen += n;
    CHECK(parts == Approx(expected / static_cast<double>(n)).epsilon(1e-9));
    // A band ends within a bin of 0.8 % of where its percentile lies.
    CHECK(static_cast<double>(seen) == Approx(50.0 * band["to"].get<double>()).margin(60));
  }
  CHECK(seen == 5000);
}

TEST_CASE("are equal latencies kept in one band?") {
  Details details;
  for (int i = 0; i < 100; ++i) details.on_request_done(record(i, seconds(i), ms(1), ms(2), ms(3), 11));
  const OrderedJson bands = details.json()["bands"]["ttft"];
  REQUIRE(bands.size() == 1);
  CHECK(bands[0]["requests"] == 100);
  CHECK(bands[0]["queue_ms"].get<double>() == Approx(1));
  CHECK(bands[0]["prefill_ms"].get<double>() == Approx(2));
}

TEST_CASE("are the worst requests those that sorting finds?") {
  auto requests = random_requests(1000);
  DetailsOptions options;
  options.worst = 20;
  Details details(options);
  for (const auto& r : requests) details.on_request_done(r);
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return e2el(a) > e2el(b); });
  const OrderedJson worst = details.json()["worst"]["e2el"];
  REQUIRE(worst.size() == 20);
  for (std::size_t i = 0; i < 20; ++i) CHECK(worst[i]["id"] == requests[i].id);
}

TEST_CASE("is what a request waited for its KV cache a part of its own?") {
  Details details;
  auto r = record(3, seconds(0), ms(1), ms(2), ms(10), 5);
  KvTransfer t;
  t.request = 3;
  t.prefilled = r.first_token, t.end = r.first_token + ms(7);
  details.on_kv_transfer(t);
  details.on_request_done(r);
  const OrderedJson one = details.json()["worst"]["e2el"][0];
  CHECK(one["transfer_ms"].get<double>() == Approx(7));
  CHECK(one["decode_ms"].get<double>() == Approx(33));
}

TEST_CASE("do warm-up and failed requests stay out of bands and lists?") {
  DetailsOptions options;
  options.warmup = seconds(10);
  Details details(options);
  details.on_request_done(record(0, seconds(9), ms(1), ms(2), ms(3), 4));
  auto failed = record(1, seconds(11), ms(1), ms(2), ms(3), 4);
  failed.failure = "too long";
  details.on_request_done(failed);
  CHECK(details.json()["bands"]["e2el"].empty());
  CHECK(details.json()["worst"]["ttft"].empty());
}

TEST_CASE("is the busiest second found, with the steps around it?") {
  Details details;
  const auto run_at = [&](double second, std::int64_t running) {
    auto run = decode_run(seconds(second), ms(100), ms(0), 10, running);
    run.load.running = running;
    details.on_decode_run(run);
  };
  for (int s = 0; s < 60; ++s) run_at(s, s == 40 ? 9 : s == 20 ? 5 : 2);
  const OrderedJson busiest = details.json()["busiest"];
  CHECK(busiest["focus_s"] == 40);
  CHECK(busiest["start_s"].get<double>() == Approx(39));
  CHECK(busiest["end_s"].get<double>() == Approx(42));
  CHECK(busiest["slices"]["decode_seqs"] == OrderedJson({2, 9, 2}));
  CHECK(busiest["slices"]["start_us"] == OrderedJson({0, 1000000, 2000000}));
  CHECK(Details().json()["busiest"].is_null());
}

TEST_CASE("are typical steps means over time and over prompt tokens?") {
  Details details;
  auto a = decode_run(seconds(0), ms(10), ms(0), 30, 4);  // 0.3 s of 4 sequences
  a.context = 4000;
  auto b = decode_run(seconds(1), ms(10), ms(0), 10, 8);  // 0.1 s of 8
  b.context = 16000;
  details.on_decode_run(a);
  details.on_decode_run(b);
  const std::vector<ChunkEvent> small{{1, 100, 0, true}}, large{{2, 300, 1000, true}};
  details.on_mixed_step(mixed_step(seconds(2), ms(20), 0, small));
  details.on_mixed_step(mixed_step(seconds(3), ms(20), 0, large));
  const TypicalSteps t = details.typical();
  CHECK(t.decode_seqs == 5);        // (0.3 x 4 + 0.1 x 8) / 0.4
  CHECK(t.decode_context == 1400);  // (0.3 x 4000 + 0.1 x 16000) / (0.3 x 4 + 0.1 x 8)
  CHECK(t.prefill_tokens == (100 * 100 + 300 * 300) / 400);  // of the step the mean prompt token is in
  CHECK(t.prefill_past == 300 * 1000 / 400);
}

TEST_CASE("do curves follow the sample?") {
  Metrics metrics;
  std::vector<double> gaps;
  for (int i = 0; i < 400; ++i) {
    metrics.on_arrival(request(i, seconds(i)), {});
    metrics.on_request_done(record(i, seconds(i), ms(0), ms(1 + i), ms(1), 2));
    const auto run = decode_run(seconds(i), ms(5 + 0.05 * i), ms(0.01), 10, 3);
    metrics.on_decode_run(run);
    for (int j = 0; j < 10; ++j) gaps.insert(gaps.end(), 3, 5 + 0.05 * i + 0.01 * j);
  }
  metrics.on_end(seconds(500));
  const std::vector<double> at{0, 50, 99, 100};
  const auto ttft = metrics.curve(Metric::ttft, at);
  REQUIRE(ttft.size() == 4);
  CHECK(ttft[0] == Approx(1));
  CHECK(ttft[1] == Approx(200.5));
  CHECK(ttft[3] == Approx(400));
  std::sort(gaps.begin(), gaps.end());
  const auto itl = metrics.curve(Metric::itl, at);
  for (std::size_t i = 0; i < at.size(); ++i) {
    const auto rank = static_cast<std::size_t>(at[i] / 100 * static_cast<double>(gaps.size() - 1));
    CHECK(itl[i] == Approx(gaps[rank]).epsilon(1e-3));
  }
  CHECK(Metrics().curve(Metric::itl, at).empty());
  CHECK(Metrics().curve(Metric::ttft, at).empty());
}
