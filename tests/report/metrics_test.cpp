#include "report/metrics.hpp"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "report/events.hpp"
#include "report/expand_steps.hpp"
#include "report/gaps.hpp"

using namespace orrery;
using namespace orrery::testing;

TEST_CASE("are TTFT, TPOT and E2E what a vLLM bench client measures?") {
  Metrics metrics;
  // TTFT 30 ms = 10 queue + 20 prefill; nine gaps of 5 ms; E2E 75 ms.
  metrics.on_arrival(request(0, ms(0)), {});
  metrics.on_arrival(request(1, ms(100)), {});
  metrics.on_request_done(record(0, ms(0), ms(10), ms(20), ms(5), 10));
  // TTFT 50 ms, one token only: it has no TPOT.
  metrics.on_request_done(record(1, ms(100), ms(0), ms(50), ms(0), 1));
  metrics.on_end(ms(150));
  const auto s = metrics.summary();
  CHECK(s.completed == 2);
  CHECK(s[Metric::ttft].mean == Approx(40));
  CHECK(s[Metric::ttft].std == Approx(10));     // population, not sample (14.1)
  CHECK(s[Metric::ttft].at(90) == Approx(48));  // type 7: 30 + 0.9 * 20
  CHECK(s[Metric::tpot].samples == 1);
  CHECK(s[Metric::tpot].mean == Approx(5));
  CHECK(s[Metric::e2el].at(50) == Approx((75 + 50) / 2.0));
  CHECK(s.duration_s == Approx(0.150));
  CHECK(s.request_throughput == Approx(2 / 0.150));
  CHECK(s.output_throughput == Approx(11 / 0.150));
  CHECK(s.total_token_throughput == Approx(211 / 0.150));
  CHECK(s.front_end_ms + s.queue_ms + s.prefill_ms == Approx(s[Metric::ttft].mean));
  CHECK(s.queue_ms == Approx(5));
}

TEST_CASE("do ITL percentiles from runs equal those of every gap written out?") {
  const auto method = GENERATE(PercentileMethod::linear, PercentileMethod::nearest, PercentileMethod::mlperf);
  Rng rng(7, "gaps");
  GapDistribution gaps(1000);
  std::vector<double> all;
  for (int i = 0; i < 300; ++i) {
    const Ps first(rng.uniform_int(1, 20'000'000'000));
    const Ps slope(rng.uniform_int(-1'000, 40'000'000));
    const auto steps = first.value > 100'000'000 ? rng.uniform_int(1, 60) : 1;
    const auto seqs = rng.uniform_int(1, 9);
    gaps.add(first, slope, steps, seqs);
    for (std::int64_t j = 0; j < steps; ++j) all.insert(all.end(), seqs, to_ms(first + slope * j));
  }
  std::sort(all.begin(), all.end());
  const std::vector<double> asked = {1, 50, 90, 99, 99.9, 100};
  const auto stats = gaps.stats(asked, method);
  CHECK(stats.exact);
  REQUIRE(stats.samples == static_cast<std::int64_t>(all.size()));
  for (const double p : asked)
    CHECK(stats.at(p) == Approx(quantile_sorted(all, p / 100, method)).epsilon(1e-12));
  double mean = 0, squares = 0;
  for (const double g : all) mean += g / static_cast<double>(all.size());
  for (const double g : all) squares += (g - mean) * (g - mean) / static_cast<double>(all.size());
  CHECK(stats.mean == Approx(mean).epsilon(1e-12));
  CHECK(stats.std == Approx(std::sqrt(squares)).epsilon(1e-9));
}

TEST_CASE("are percentiles beyond the exact limit within 0.1%, and does the summary say so?") {
  MetricsOptions small;
  small.max_exact_requests = 100, small.max_exact_runs = 100;
  Metrics exact, approximate(small);
  Rng rng(3, "requests");
  for (int i = 0; i < 5000; ++i) {
    const auto r = record(i, ms(i), Ps(0), ms(rng.lognormal(3, 1)), ms(rng.lognormal(2, 0.3)), 5);
    const auto run = decode_run(ms(i), ms(rng.lognormal(2, 0.3)), Ps(rng.uniform_int(0, 1'000'000)), 20, 4);
    for (Metrics* m : {&exact, &approximate}) {
      m->on_arrival(request(i, r.arrival), {});
      m->on_decode_run(run);
      m->on_request_done(r);
    }
  }
  exact.on_end(seconds(6)), approximate.on_end(seconds(6));
  const auto e = exact.summary(), a = approximate.summary();
  for (const auto metric : {Metric::ttft, Metric::tpot, Metric::itl, Metric::e2el}) {
    CHECK(e[metric].exact);
    CHECK_FALSE(a[metric].exact);
    CHECK(a[metric].mean == Approx(e[metric].mean));
    for (const double p : {50.0, 90.0, 99.0, 99.9}) {
      CHECK(a[metric].at(p) == Approx(e[metric].at(p)).epsilon(0.001));
    }
  }
}

TEST_CASE("does the wait of a preempted sequence appear as a gap?") {
  Metrics metrics;
  metrics.on_arrival(request(0, ms(0)), {});
  metrics.on_decode_run(decode_run(ms(0), ms(5), Ps(0), 9, 1));
  metrics.on_preemption(0, {}, ms(45));
  metrics.on_resumed(0, {}, ms(300));
  metrics.on_end(ms(345));
  const auto s = metrics.summary();
  CHECK(s[Metric::itl].samples == 10);
  CHECK(s[Metric::itl].max == Approx(300));
  CHECK(s.preemptions == 1);
}

TEST_CASE("are warm-up requests left out of every figure?") {
  MetricsOptions options;
  SECTION("by time") {
    options.warmup = ms(1000);
  }
  SECTION("by number") {
    options.warmup_requests = 1;
  }
  Metrics metrics(options);
  metrics.on_arrival(request(0, ms(0)), {});
  metrics.on_decode_run(decode_run(ms(10), ms(500), Ps(0), 1, 1));
  metrics.on_request_done(record(0, ms(0), ms(0), ms(500), ms(10), 2));
  metrics.on_arrival(request(1, ms(1000)), {});
  metrics.on_decode_run(decode_run(ms(1020), ms(10), Ps(0), 1, 1));
  metrics.on_request_done(record(1, ms(1000), ms(0), ms(20), ms(10), 2));
  metrics.on_end(ms(1030));
  const auto s = metrics.summary();
  CHECK(s.completed == 1);
  CHECK(s.excluded == 1);
  CHECK(s[Metric::ttft].max == Approx(20));
  CHECK(s[Metric::itl].max == Approx(10));
  CHECK(s.duration_s == Approx(0.030));
  CHECK(s.max_concurrent_requests == 1);
}

TEST_CASE("do the one-second buckets follow vLLM?") {
  Metrics metrics;
  // 4 tokens at each of 0.3, 0.6, 0.9, 1.2, 1.5 s: twelve in the first second, eight in the second.
  metrics.on_arrival(request(0, ms(0)), {});
  metrics.on_arrival(request(1, ms(100)), {});
  metrics.on_decode_run(decode_run(ms(0), ms(300), Ps(0), 5, 4));
  auto first = record(0, ms(0), ms(0), ms(300), ms(100), 6);  // active in second 0
  metrics.on_request_done(first);
  metrics.on_arrival(request(2, ms(900)), {});
  metrics.on_request_done(record(1, ms(100), ms(0), ms(300), ms(300), 5));
  metrics.on_request_done(record(2, ms(900), ms(0), ms(300), ms(300), 2));
  metrics.on_end(ms(1600));
  const auto s = metrics.summary();
  CHECK(s.max_output_tokens_per_s == 12);
  CHECK(s.max_concurrent_requests == 3);  // all three were active at some time in second 0
}

TEST_CASE("how many steps of a run end before a moment?") {
  const auto run = decode_run(ms(10), ms(5), ms(1), 4, 1);  // ends at 15, 21, 28, 36 ms
  CHECK(steps_ended_before(run, ms(5)) == 0);
  CHECK(steps_ended_before(run, ms(15)) == 0);
  CHECK(steps_ended_before(run, ms(15) + Ps(1)) == 1);
  CHECK(steps_ended_before(run, ms(28) + Ps(1)) == 3);
  CHECK(steps_ended_before(run, ms(36)) == 3);
  CHECK(steps_ended_before(run, ms(99)) == 4);

  Rng rng(1, "runs");
  for (int i = 0; i < 200; ++i) {
    const auto r = decode_run(Ps(rng.uniform_int(0, 1'000'000)), Ps(rng.uniform_int(1, 5'000)),
                              Ps(rng.uniform_int(0, 50)), rng.uniform_int(1, 400), 1);
    const Ps probe = r.start + Ps(rng.uniform_int(0, r.duration().value + 10));
    std::int64_t ended = 0;
    expand_steps(r, [&](const DecodeStep& step) { ended += step.start + step.duration < probe ? 1 : 0; });
    CHECK(steps_ended_before(r, probe) == ended);
  }
}

TEST_CASE("is load weighted by time, idle time included?") {
  Metrics metrics;
  metrics.on_arrival(request(0, ms(0)), {});
  auto run = decode_run(ms(0), ms(10), Ps(0), 50, 8);  // 0.5 s with 8 running, then 0.5 s idle
  run.load.kv_blocks_used = 100;                       // grows by 8 * 50 / 16 = 25 blocks
  metrics.on_decode_run(run);
  metrics.on_end(seconds(1));
  const auto s = metrics.summary();
  CHECK(s.running.mean == Approx(4));
  CHECK(s.running.peak == 8);
  CHECK(s.running.p99 == 8);
  CHECK(s.kv_used.mean == Approx(0.5 * 0.1125));
  CHECK(s.kv_used.peak == Approx(0.125));
  REQUIRE(s.gpu.size() == 1);
  CHECK(s.gpu[0].decode_s == Approx(0.5));
  CHECK(s.gpu[0].idle_s == Approx(0.5));
}

// 1000 blocks of 16 tokens. For a second 400 are used, 500 set aside, 320 slots (20 blocks) of the used ones
// empty, and somebody waits; then for a second nothing.
TEST_CASE("is memory told apart into tokens, empty slots, what is set aside and what is out of reach?") {
  MetricsOptions options;
  options.kv_block_size = 16;
  Metrics metrics(options);
  metrics.on_arrival(request(0, ms(0)), {});
  const std::vector<ChunkEvent> chunks;
  auto step = mixed_step(ms(0), ms(1000), 8, chunks);
  step.load = {8, 1, 400, 1000, 500, 320};
  metrics.on_mixed_step(step);
  metrics.on_end(seconds(2));
  const KvMemory m = metrics.summary().kv_memory;
  CHECK(m.allocated == Approx(0.25));
  CHECK(m.peak == Approx(0.5));
  CHECK(m.stored == Approx(0.19));
  CHECK(m.unfilled == Approx(0.01));
  CHECK(m.set_aside == Approx(0.05));
  CHECK(m.free_while_waiting == Approx(0.25));
  CHECK(m.internal_waste() == Approx(0.06 / 0.25));
}

// Over 64 steps of 8 sequences each passes through all 16 places of its last block four times.
TEST_CASE("is the waste of a long run that of whole blocks, whatever its first step's was?") {
  Metrics metrics;
  metrics.on_arrival(request(0, ms(0)), {});
  auto run = decode_run(ms(0), ms(10), Ps(0), 64, 8);
  run.load.kv_blocks_used = 500, run.load.kv_tokens_unfilled = 3;
  metrics.on_decode_run(run);
  metrics.on_end(ms(640));
  CHECK(metrics.summary().kv_memory.unfilled == Approx(8 * 7.5 / 16 / 1000));
}

TEST_CASE("are hits counted by tokens, by requests, and by later turns of sessions?") {
  Metrics metrics;
  for (int i = 0; i < 4; ++i) {
    metrics.on_arrival(request(i, ms(0)), {});
    auto r = record(i, ms(0), ms(0), ms(5), ms(5), 3);  // prompts of 100 tokens
    r.turn = i / 2, r.cached_tokens = i == 0 ? 0 : 20 * i;
    metrics.on_request_done(r);
  }
  metrics.on_end(ms(20));
  const auto s = metrics.summary();
  CHECK(s.prefix_hit_rate() == Approx(0.3));
  CHECK(s.request_hit_rate() == Approx(0.75));
  CHECK(s.later_turns.requests == 2);
  CHECK(s.later_turns.hit_rate() == Approx(0.5));
}

TEST_CASE("is goodput counted per request and attainment over failures too?") {
  MetricsOptions options;
  options.slo = parse_slo("ttft<=50ms@p50,tpot<=20ms,attainment>=0.6");
  Metrics metrics(options);
  for (int i = 0; i < 4; ++i) metrics.on_arrival(request(i, ms(0)), {});
  metrics.on_request_done(record(0, ms(0), ms(0), ms(40), ms(20), 3));  // good
  metrics.on_request_done(record(1, ms(0), ms(0), ms(51), ms(1), 3));   // TTFT too long
  metrics.on_request_done(record(2, ms(0), ms(0), ms(50), ms(99), 1));  // one token: no TPOT to miss
  auto failed = record(3, ms(0), ms(0), ms(1), ms(1), 1);
  failed.failure = "prompt longer than max_model_len";
  metrics.on_request_done(failed);
  metrics.on_end(ms(80));
  const auto s = metrics.summary();
  CHECK(s.completed == 3);
  CHECK(s.failed == 1);
  CHECK(*s.attainment == Approx(0.5));
  CHECK(*s.request_goodput == Approx(2 / 0.080));
  REQUIRE(s.slo.size() == 3);
  CHECK(s.slo[0].value == Approx(50));
  CHECK(s.slo[0].pass);
  CHECK(s.slo[1].pass);
  CHECK_FALSE(s.slo[2].pass);
  CHECK_FALSE(s.slo_met());
}

TEST_CASE("does p99 from few requests warn, and from enough not?") {
  const auto warned = [](int requests) {
    MetricsOptions options;
    options.percentiles = {50, 99};
    Metrics metrics(options);
    for (int i = 0; i < requests; ++i) {
      metrics.on_arrival(request(i, ms(i)), {});
      metrics.on_request_done(record(i, ms(i), ms(0), ms(5), ms(5), 3));
    }
    metrics.on_end(ms(requests));
    return metrics.summary().warnings.size();
  };
  CHECK(warned(999) == 1);
  CHECK(warned(1000) == 0);
}

TEST_CASE("is the gap of sequences that a prefill-only batch held up longer by that batch?") {
  Metrics metrics;
  DecodeRun run;
  run.start = ps_from_ms(100), run.first = ps_from_ms(10), run.steps = 2, run.seqs = 3;
  run.stalled_seqs = 2, run.stall = ps_from_ms(50);
  metrics.on_decode_run(run);
  const auto s = metrics.summary({});
  // 60, 60 and 10 ms in the first step, 10 ms for all three in the second.
  CHECK(s[Metric::itl].samples == 6);
  CHECK(s[Metric::itl].max == Approx(60));
  CHECK(s[Metric::itl].mean == Approx((60 + 60 + 10 + 30) / 6.0));
}

TEST_CASE("do the statistics of gaps not depend on how steps were told as runs?") {
  Metrics runs, steps;
  DecodeRun run;
  run.first = Ps(7123456789), run.slope = Ps(345678), run.steps = 1000, run.seqs = 17;
  runs.on_decode_run(run);
  for (std::int64_t j = 0; j < 1000; ++j) {
    DecodeRun one = run;
    one.first = run.first + run.slope * j, one.slope = Ps(0), one.steps = 1;
    steps.on_decode_run(one);
  }
  const auto a = runs.summary({}), b = steps.summary({});
  CHECK(a[Metric::itl].mean == b[Metric::itl].mean);
  CHECK(a[Metric::itl].std == b[Metric::itl].std);
  CHECK(a[Metric::itl].max == b[Metric::itl].max);
}
