#include <set>

#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"

using namespace orrery;

namespace {

std::string timed(const std::vector<double>& seconds) {
  std::string text = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  for (std::size_t i = 0; i < seconds.size(); ++i)
    text += std::to_string(seconds[i]) + "," + std::to_string(10 + i) + ",5\n";
  return text;
}

std::vector<double> arrivals(const std::vector<Request>& all) {
  std::vector<double> out;
  for (const auto& r : all) out.push_back(to_seconds(r.arrival).value);
  return out;
}

}  // namespace

TEST_CASE("does a trace start at its first request?") {
  CHECK(arrivals(replay(timed({100, 101, 104}))) == std::vector<double>{0, 1, 4});
}

TEST_CASE("does a rate scale shorten the gaps, and a target rate meet itself?") {
  WorkloadSpec spec;
  spec.rate_scale = 2;
  CHECK(arrivals(replay(timed({0, 1, 4}), spec)) == std::vector<double>{0, 0.5, 2});
  spec.rate_scale = 1;
  spec.target_rps = 4;  // two gaps in 4 s are 0.5 requests/s
  CHECK(arrivals(replay(timed({0, 1, 4}), spec)) == std::vector<double>{0, 0.125, 0.5});
  CHECK_THAT(what(replay_error(timed({3}), spec)), Catch::Contains("no rate to scale"));
}

TEST_CASE("do duration and number of prompts cut the scaled trace?") {
  WorkloadSpec spec;
  spec.duration_s = 4;
  CHECK(replay(timed({0, 1, 4, 5}), spec).size() == 2);  // an arrival at the very end is outside
  spec.rate_scale = 2;
  CHECK(replay(timed({0, 1, 4, 5}), spec).size() == 4);
  spec.num_prompts = 3;
  CHECK(replay(timed({0, 1, 4, 5}), spec).size() == 3);
}

TEST_CASE("does a looped trace keep its rate, and its prefixes apart?") {
  WorkloadSpec spec;
  spec.loop = 3;
  CHECK(arrivals(replay(timed({7, 8, 9}), spec)) == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8});

  const std::string shared =
      R"({"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]})"
      "\n"
      R"({"timestamp": 9, "input_length": 600, "output_length": 5, "hash_ids": [1, 3]})"
      "\n";
  const auto all = replay(shared, spec);
  REQUIRE(all.size() == 6);
  std::set<std::uint64_t> first_blocks;
  for (std::size_t i = 0; i < all.size(); i += 2) {
    CHECK(all[i].prefix->ids[0] == all[i + 1].prefix->ids[0]);
    CHECK(all[i].prefix->ids[1] != all[i + 1].prefix->ids[1]);
    first_blocks.insert(all[i].prefix->ids[0]);
  }
  CHECK(first_blocks.size() == 3);
}

TEST_CASE("is a step back in time an error unless sorting is asked for?") {
  const auto e = replay_error(timed({0, 2, 1}));
  CHECK_THAT(what(e), Catch::Contains("1 s earlier than the one before it"));
  CHECK(e.line() == 4);
  CHECK_THAT(e.hint(), Catch::Contains("--sort"));
  WorkloadSpec spec;
  spec.read.sort = true;
  spec.loop = 2;
  const auto all = replay(timed({0, 2, 1}), spec);
  CHECK(arrivals(all) == std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK(all[1].prompt_tokens == 12);
}

TEST_CASE("are ties spread over the tick, evenly or at random, without overtaking?") {
  const std::string text = timed({0, 0, 0, 3, 3, 6, 6, 6, 6, 30, 30});
  WorkloadSpec spec;
  CHECK(arrivals(replay(text, spec))[2] == 0);
  spec.read.spread_ties = SpreadTies::uniform;
  CHECK(arrivals(replay(text, spec)) == std::vector<double>{0, 1, 2, 3, 4.5, 6, 6.75, 7.5, 8.25, 30, 31.5});
  spec.read.spread_ties = SpreadTies::poisson;
  const auto random = replay(text, spec);
  REQUIRE(random.size() == 11);
  for (std::size_t i = 1; i < random.size(); ++i) {
    CHECK(random[i - 1].arrival <= random[i].arrival);
    CHECK(random[i].prompt_tokens == 10 + static_cast<int>(i));
  }
  CHECK(to_seconds(random[8].arrival - random[5].arrival).value < 3.0);
}

TEST_CASE("does a coarse clock leave a note?") {
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) times.push_back(3.0 * (i / 10));
  const auto text = timed(times);
  const auto source = make_trace_source({}, ByteSource::memory(text, "trace"), 1);
  Request r;
  while (source->next(r)) continue;
  CHECK_THAT(source->notes().back(), Catch::Contains("10.0 requests share one, every 3 s"));
}

TEST_CASE("is a trace longer than simulated time refused, unless it is played faster?") {
  CHECK_THAT(what(replay_error(timed({0, 1e7}))), Catch::Contains("106 days"));
  WorkloadSpec spec;
  spec.rate_scale = 100;
  CHECK(to_seconds(replay(timed({0, 1e7}), spec)[1].arrival).value == Approx(1e5));
  spec.rate_scale = 1;
  spec.duration_s = 10;
  CHECK(replay(timed({0, 1e7}), spec).size() == 1);
}

TEST_CASE("are rows with and without a time in one file refused?") {
  const std::string with = R"({"timestamp": 5, "input_length": 6, "output_length": 5})"
                           "\n";
  const std::string without = R"({"input_length": 6, "output_length": 5})"
                              "\n";
  CHECK_THAT(what(replay_error(with + without)), Catch::Contains("no time"));
  CHECK_THAT(what(replay_error(without + with)), Catch::Contains("has a time"));
}

TEST_CASE("can a trace give its lengths to generated arrivals?") {
  WorkloadSpec spec;
  spec.read.use_timestamps = false;
  spec.request_rate = 10;
  spec.arrivals.process = "constant";
  const auto all = replay(timed({0, 5, 9}), spec);
  CHECK(arrivals(all) == std::vector<double>{0, 0.1, 0.2});
  CHECK(all[2].prompt_tokens == 12);
}
