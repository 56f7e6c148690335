#include "scenario/compare.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

TEST_CASE("is a change judged by its direction, and only beyond noise?") {
  Change c;
  c.metric = "p99_ttft_ms", c.lower_is_better = true;
  c.base = 400, c.now = 380, c.noise = 0.02;
  CHECK(c.share() == Approx(-0.05));
  CHECK(c.verdict() == "better");
  c.now = 404;
  CHECK(c.verdict() == "same (inside noise)");
  c.now = 440;
  CHECK(c.verdict() == "worse");
  c.lower_is_better = false;
  CHECK(c.verdict() == "better");
  c.judged = false;
  CHECK(c.verdict() == "changed");
}

TEST_CASE("which limits does a change break?") {
  const OrderedJson base = {{"p99_ttft_ms", 400.0}, {"output_throughput", 1000.0}, {"completed", 50}};
  const OrderedJson now = {{"p99_ttft_ms", 424.0}, {"output_throughput", 985.0}, {"completed", 48}};
  const auto broken = [&](const char* limits) {
    return compare(base, now, parse_limits(limits)).broken.size();
  };
  CHECK(broken("p99_ttft_ms>+5%,output_throughput<-2%") == 1);
  CHECK(broken("p99_ttft_ms>+7%,output_throughput<-1%") == 1);
  CHECK(broken("p99_ttft_ms>5%,output_throughput<-1%,completed<-1") == 3);
  CHECK(broken("p99_ttft_ms>+24,completed<-2") == 0);
  CHECK_THROWS_WITH(broken("p99_tft_ms>+5%"), Catch::Contains("no number 'p99_tft_ms'"));
  CHECK_THROWS_AS(parse_limits("p99_ttft_ms"), ConfigError);
  CHECK_THROWS_AS(parse_limits("p99_ttft_ms>much"), ConfigError);
}

TEST_CASE("is the noise of a metric what seeds make of it, none where nothing is random?") {
  const auto scenario = [](const char* arrivals, const char* seed = "0") {
    return resolve(Assignments{{"seed", seed, "test", "", 0},
                               {"model", "llama-3.1-8b", "test", "", 0},
                               {"gpu", "h100-sxm", "test", "", 0},
                               {"num_prompts", "200", "test", "", 0},
                               {"request_rate", arrivals, "test", "", 0}});
  };
  const OrderedJson summary = {{"mean_ttft_ms", 100.0}, {"mean_tpot_ms", 10.0}};
  Comparison random = compare(summary, summary, {}), still = random, paired = random;
  add_noise(random, scenario("20"), scenario("20", "9"), 4);
  add_noise(paired, scenario("20"), scenario("20"), 4);  // the same requests: nothing is left
  add_noise(still, scenario("inf"), scenario("inf"), 4);
  for (const Change& c : random.changes) CHECK(c.noise > 0.001);
  for (const Change& c : paired.changes) CHECK(c.noise == 0);
  for (const Change& c : still.changes) CHECK(c.noise == Approx(0).margin(1e-9));
}

TEST_CASE("are the settings in which two runs differ named?") {
  const Assignments a = {{"gpu", "h100", "", "", 0}, {"max_num_seqs", "128", "", "", 0}};
  const Assignments b = {
      {"gpu", "h100", "", "", 0}, {"max_num_seqs", "256", "", "", 0}, {"seed", "2", "", "", 0}};
  CHECK(setting_changes(a, b) ==
        std::vector<std::string>{"max_num_seqs: 128 -> 256", "seed: (default) -> 2"});
}
