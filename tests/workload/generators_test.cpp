#include <cmath>

#include <catch2/catch.hpp>

#include "workload/arrival_process.hpp"
#include "workload/length_distribution.hpp"
#include "workload/source.hpp"
#include "workload/trace_stats.hpp"

using namespace orrery;

namespace {

TraceStats stats_of(const WorkloadSpec& spec, std::uint64_t seed = 1) {
  const auto source = make_source(spec, seed);
  return trace_stats(*source);
}

WorkloadSpec arriving(const std::string& process, double rate) {
  WorkloadSpec spec;
  spec.arrivals.process = process;
  spec.request_rate = rate;
  spec.num_prompts = 200'000;
  return spec;
}

}  // namespace

TEST_CASE("are the registered generators those of the reference?") {
  CHECK(Registry<ArrivalProcesses>::names() ==
        std::vector<std::string>{"constant", "diurnal", "gamma", "on_off", "poisson", "weibull"});
  CHECK(Registry<LengthDistributions>::names() ==
        std::vector<std::string>{"empirical", "fixed", "lognormal", "quantiles", "uniform"});
}

TEST_CASE("does every arrival process keep the rate it is given?") {
  for (const auto& process : Registry<ArrivalProcesses>::names()) {
    INFO(process);
    auto spec = arriving(process, 8);
    spec.arrivals.on_s = 2, spec.arrivals.off_s = 6, spec.arrivals.period_s = 100;
    CHECK(stats_of(spec).rate == Approx(8).epsilon(0.03));
  }
}

TEST_CASE("do the gaps vary as the process says?") {
  CHECK(stats_of(arriving("constant", 8)).interarrival_cv == Approx(0).margin(1e-6));
  CHECK(stats_of(arriving("poisson", 8)).interarrival_cv == Approx(1).epsilon(0.02));
  auto gamma = arriving("gamma", 8);
  gamma.arrivals.burstiness = 0.25;
  CHECK(stats_of(gamma).interarrival_cv == Approx(2).epsilon(0.03));  // 1 / sqrt(shape)
  gamma.arrivals.cv = 0.5;
  CHECK(stats_of(gamma).interarrival_cv == Approx(0.5).epsilon(0.03));
  auto weibull = arriving("weibull", 8);
  weibull.arrivals.burstiness = 0.5;
  CHECK(stats_of(weibull).interarrival_cv ==
        Approx(std::sqrt(5)).epsilon(0.03));  // Gamma(5) / Gamma(3)^2 - 1 = 5
  CHECK(stats_of(arriving("on_off", 8)).interarrival_cv > 2);
}

TEST_CASE("does vLLM's burstiness alone make gaps of that shape?") {
  auto spec = arriving("poisson", 8);
  spec.burstiness = 0.25;
  CHECK(stats_of(spec).interarrival_cv == Approx(2).epsilon(0.03));
}

TEST_CASE("do stages follow each other at their own rates?") {
  WorkloadSpec spec;
  spec.arrivals.process = "constant";
  spec.arrivals.stages = {{600, 5}, {60, 0}, {600, 10}};
  const auto source = make_source(spec, 1);
  Request r;
  std::int64_t early = 0, late = 0;
  while (source->next(r)) {
    const double t = to_seconds(r.arrival).value;
    CHECK((t < 600 || t >= 660));
    ++(t < 600 ? early : late);
  }
  CHECK(early == 3000);
  CHECK(late == 6000);
}

TEST_CASE("does a diurnal load peak and ebb?") {
  auto spec = arriving("diurnal", 100);
  spec.arrivals.period_s = 1000, spec.arrivals.amplitude = 0.8, spec.num_prompts = 0, spec.duration_s = 1000;
  const auto source = make_source(spec, 1);
  Request r;
  double day = 0, night = 0;
  while (source->next(r)) ++(r.arrival < to_ps(Seconds(500)) ? day : night);
  // The sine's mean over half a period is 2 / pi.
  CHECK(day / night == Approx((1 + 0.8 * 2 / M_PI) / (1 - 0.8 * 2 / M_PI)).epsilon(0.05));
}

TEST_CASE("does the range ratio mean [ratio N, N], or around N when that is asked for?") {
  WorkloadSpec spec;
  spec.random_input_len = 1000, spec.random_output_len = 500, spec.random_range_ratio = 0.8;
  spec.num_prompts = 20'000;
  auto s = stats_of(spec);
  CHECK(s.input.quantile(0) == 800);
  CHECK(s.input.quantile(1) == 1000);
  CHECK(s.input.mean() == Approx(900).epsilon(0.005));
  CHECK(s.output.quantile(0) == 400);
  spec.random_range_ratio = 0.1, spec.range_meaning = RangeMeaning::around;
  s = stats_of(spec);
  CHECK(s.input.quantile(0) == 900);
  CHECK(s.input.quantile(1) == 1100);
  CHECK(s.duration_s == 0);  // a request rate of infinity: all at once
}

TEST_CASE("do lognormal lengths have their median and stay in their bounds?") {
  WorkloadSpec spec;
  spec.num_prompts = 50'000;
  spec.input.distribution = "lognormal";
  spec.input.median = 300, spec.input.sigma = 1, spec.input.min = 10, spec.input.max = 4000;
  const auto s = stats_of(spec);
  CHECK(s.input.quantile(0.5) == Approx(300).epsilon(0.03));
  CHECK(s.input.quantile(0.8413) == Approx(300 * std::exp(1)).epsilon(0.03));
  CHECK(s.input.quantile(0) >= 10);
  CHECK(s.input.quantile(1) <= 4000);
}

TEST_CASE("are built-in workloads what was published?") {
  WorkloadSpec spec;
  spec.trace = "builtin:conversation";
  const auto s = stats_of(spec);
  CHECK(s.requests() == 19366);
  CHECK(s.rate == Approx(5.53).epsilon(0.03));
  CHECK(s.interarrival_cv == Approx(1.09).epsilon(0.05));
  CHECK(s.input.quantile(0.5) == Approx(1020).epsilon(0.04));
  CHECK(s.input.quantile(0.9) == Approx(2734).epsilon(0.03));
  CHECK(s.output.quantile(0.5) == Approx(129).epsilon(0.06));
  CHECK(s.output.mean() ==
        Approx(211).epsilon(0.03));  // mean of the trace itself, which the quantiles do not fix
  spec.trace = "builtin:conversations";
  CHECK_THROWS_WITH(make_source(spec, 1), Catch::Contains("unknown built-in workload"));
  for (const auto& name : builtin_workloads()) {
    spec.trace = "builtin:" + name;
    CHECK(stats_of(spec).requests() > 1000);
  }
}

TEST_CASE("does the seed decide every draw?") {
  auto spec = arriving("gamma", 8);
  spec.num_prompts = 100;
  spec.random_range_ratio = 0.5;
  const auto draw = [&](std::uint64_t seed) {
    const auto source = make_source(spec, seed);
    std::vector<std::int64_t> out;
    Request r;
    while (source->next(r)) out.insert(out.end(), {r.arrival.value, r.prompt_tokens, r.output_tokens});
    return out;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));
}

TEST_CASE("is every impossible parameter refused?") {
  const auto refused = [](auto&& change) {
    WorkloadSpec spec;
    spec.request_rate = 1;
    change(spec);
    CHECK_THROWS_AS(make_source(spec, 1), ConfigError);
  };
  const double nan = std::nan("");
  for (const double bad : {nan, -1.0, 0.0}) {
    refused([&](WorkloadSpec& s) { s.request_rate = bad; });
    refused([&](WorkloadSpec& s) { s.rate_scale = bad; });
    refused([&](WorkloadSpec& s) { s.burstiness = bad; });
    refused([&](WorkloadSpec& s) { s.arrivals.stages = {{bad, 1}}; });
  }
  for (const double bad : {nan, -1.0, 2.0}) {
    refused([&](WorkloadSpec& s) { s.random_range_ratio = bad; });
    refused([&](WorkloadSpec& s) { s.arrivals.process = "diurnal", s.arrivals.amplitude = bad; });
  }
  refused([](WorkloadSpec& s) { s.random_input_len = 0; });
  refused([](WorkloadSpec& s) { s.random_output_len = -3; });
  refused([](WorkloadSpec& s) { s.num_prompts = -1; });
  refused([](WorkloadSpec& s) { s.max_concurrency = -1; });
  refused([](WorkloadSpec& s) { s.loop = 0; });
  refused([](WorkloadSpec& s) { s.arrivals.process = "possion"; });
  refused([](WorkloadSpec& s) { s.input.distribution = "zipf"; });
  refused([](WorkloadSpec& s) { s.input.distribution = "empirical"; });
  refused([](WorkloadSpec& s) { s.input.distribution = "quantiles", s.input.quantiles = {{0, 5}, {1, 4}}; });
  refused([](WorkloadSpec& s) { s.prefix.groups = -2; });
  refused([](WorkloadSpec& s) { s.trace = "/nonexistent.csv"; });
}
