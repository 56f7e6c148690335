#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"

using namespace orrery;

namespace {
const std::string row = R"({"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]})";

WorkloadSpec mooncake() {
  WorkloadSpec spec;
  spec.read.format = "mooncake";
  return spec;
}
}  // namespace

TEST_CASE("do hash ids become prefix keys of 512 tokens?") {
  const auto r = replay(row + "\n").at(0);
  REQUIRE(r.prefix);
  CHECK(r.prefix->ids == std::vector<std::uint64_t>{46, 47});
  CHECK(r.prefix->block_tokens == 512);
  CHECK(r.prompt_tokens == 655);
}

TEST_CASE("does a row read the same whatever its layout?") {
  // The usual shape is read by a parser of its own, all others by the general one: both must agree.
  const std::vector<std::string> same{
      R"({"timestamp":7,"input_length":655,"output_length":52,"hash_ids":[46,47]})",
      R"(  { "hash_ids" : [ 46 , 47 ] , "output_length" : 52 , "input_length" : 655 , "timestamp" : 7 }  )",
      R"({"timestamp": 7.0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]})",
      R"({"timestamp": 7, "input_length": 655.0, "output_length": 52, "hash_ids": [46, 47], "unknown": {"a": [1]}})",
      R"({"\u0074imestamp": 7, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]})",
  };
  for (const auto& text : same) {
    INFO(text);
    const auto r = replay(row + "\n" + text + "\r\n", mooncake()).at(1);
    CHECK(r.arrival == ps_from_ms(7));
    CHECK(r.prompt_tokens == 655);
    CHECK(r.output_tokens == 52);
    CHECK(r.prefix->ids == std::vector<std::uint64_t>{46, 47});
  }
}

TEST_CASE("is each malformed Mooncake row refused with its place?") {
  const std::vector<std::pair<std::string, std::string>> rows{
      {R"({"timestamp": 1, "input_length": 655, "output_length": 52, "hash_ids": [46, 47})",
       "not valid JSON"},
      {R"({"timestamp": 1, "input_length": 655, "output_length": 52} x)", "not valid JSON"},
      {R"({"timestamp": 1, "input_length": 0655, "output_length": 52})", "not valid JSON"},
      {R"({"timestamp": 1, "input_length": 6)", "not valid JSON"},
      {R"({"timestamp": NaN, "input_length": 655, "output_length": 52})", "not valid JSON"},
      {R"({"timestamp": 1e999, "input_length": 655, "output_length": 52})", "too large"},
      {R"([1, 2])", "one JSON object per line"},
      {R"({"timestamp": -1, "input_length": 655, "output_length": 52})", "timestamp: expected milliseconds"},
      {R"({"timestamp": "1", "input_length": 655, "output_length": 52})", "timestamp: expected a number"},
      {R"({"timestamp": 99999999999999999, "input_length": 655, "output_length": 52})",
       "timestamp: expected"},
      {R"({"timestamp": 1, "input_length": 0, "output_length": 52})", "input_length: expected at least 1"},
      {R"({"timestamp": 1, "input_length": 655, "output_length": -52})",
       "output_length: expected at least 1"},
      {R"({"timestamp": 1, "input_length": 9999999999, "output_length": 52})",
       "input_length: expected at most"},
      {R"({"timestamp": 1, "output_length": 52, "hash_ids": [1]})", "missing key 'input_length'"},
      {R"({"timestamp": 1, "text_input": "abc", "output_length": 52, "hash_ids": [1]})",
       "hash_ids needs input_length"},
      {R"({"timestamp": 1, "input_length": 655, "output_length": 52, "hash_ids": [46, 47, 48]})",
       "2 blocks of 512"},
      {R"({"timestamp": 1, "input_length": 655, "output_length": 52, "hash_ids": [46, "47"]})",
       "hash_ids: expected integers"},
      {R"({"timestamp": 1, "input_length": 655, "output_length": 52, "hash_ids": 3})",
       "hash_ids: expected an array"},
  };
  for (const auto& [text, message] : rows) {
    INFO(text);
    const auto e = replay_error(row + "\n" + text + "\n", mooncake());
    CHECK_THAT(what(e), Catch::Contains(message));
    CHECK(e.line() == 2);
  }
  CHECK(replay_error(row + "\n" + R"({"timestamp": 1, "input_length": 1.5, "output_length": 52})").column() ==
        18);
}

TEST_CASE("are the keys of aiperf's dialect understood?") {
  const auto all = replay(
      "{\"text_input\": \"What is the capital of France?\", \"output_length\": 20, \"priority\": 2, "
      "\"timestamp\": 1}\n"
      "{\"session_id\": \"s1\", \"timestamp\": 2000, \"input_length\": 672}\n"
      "{\"session_id\": \"s2\", \"timestamp\": 2000, \"input_length\": 672}\n"
      "{\"session_id\": \"s1\", \"timestamp\": 2000, \"input_length\": 672}\n");
  CHECK(all.at(0).prompt_tokens == 8);  // 30 characters
  CHECK(all.at(0).priority == 2);
  CHECK(all.at(1).output_tokens == 256);
  CHECK(all.at(1).client == all.at(3).client);
  CHECK(all.at(1).client != all.at(2).client);
}
