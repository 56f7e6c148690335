#include <catch2/catch.hpp>

#include "workload/memory_trace.hpp"

using namespace orrery;

namespace {

const std::string two_sessions =
    "{\"session_id\": \"a\", \"timestamp\": 1000, \"input_length\": 100, \"output_length\": 5}\n"
    "{\"session_id\": \"b\", \"timestamp\": 2000, \"input_length\": 200, \"output_length\": 5}\n"
    "{\"session_id\": \"a\", \"delay\": 3000, \"input_length\": 101, \"output_length\": 5}\n"
    "{\"session_id\": \"a\", \"delay\": 500, \"input_length\": 102, \"output_length\": 5}\n"
    "{\"session_id\": \"b\", \"delay\": 100, \"input_length\": 201, \"output_length\": 5}\n";

RequestSourcePtr source_of(const std::string& text, const WorkloadSpec& spec = {}) {
  return make_trace_source(spec, ByteSource::memory(text, "trace"), 1);
}

}  // namespace

TEST_CASE("does a session's next row wait for its answer and its delay, whatever other sessions do?") {
  const auto source = source_of(two_sessions);
  CHECK(source->closed_loop());
  CHECK(source->total() == 5);
  Request a, b, r;
  REQUIRE(source->next(a));
  REQUIRE(source->next(b));
  CHECK_FALSE(source->next(r));  // both wait for answers
  CHECK(b.arrival == to_ps(Seconds(1)));

  source->completed(b, to_ps(Seconds(10)));
  REQUIRE(source->next(r));
  CHECK(r.prompt_tokens == 201);
  CHECK(r.arrival == ps_from_ms(10'100));
  CHECK_FALSE(source->next(r));

  source->completed(a, to_ps(Seconds(20)));
  REQUIRE(source->next(r));
  CHECK(r.prompt_tokens == 101);
  CHECK(r.arrival == to_ps(Seconds(23)));
  source->completed(r, to_ps(Seconds(30)));
  REQUIRE(source->next(r));
  CHECK(r.prompt_tokens == 102);
  CHECK(r.arrival == ps_from_ms(30'500));
  CHECK(r.client == a.client);
  source->completed(r, to_ps(Seconds(40)));
  CHECK_FALSE(source->next(r));
  CHECK(source->total() == 0);
}

TEST_CASE("is a rate refused where times depend on answers?") {
  WorkloadSpec spec;
  spec.target_rps = 5;
  CHECK_THROWS_WITH(source_of(two_sessions, spec), Catch::Contains("no rate of its own"));
  spec.target_rps = 0, spec.loop = 2;
  CHECK_THROWS_WITH(source_of(two_sessions, spec), Catch::Contains("no rate of its own"));
  spec.loop = 1, spec.rate_scale = 2;
  const auto source = source_of(two_sessions, spec);
  Request r;
  source->next(r), source->next(r);
  CHECK(r.arrival == ps_from_ms(500));
}

TEST_CASE("is a conversation its user where a row names no other?") {
  const auto source = source_of(
      "{\"session_id\": \"a\", \"timestamp\": 0, \"input_length\": 10, \"output_length\": 5}\n"
      "{\"session_id\": \"b\", \"timestamp\": 1, \"input_length\": 10, \"output_length\": 5}\n"
      "{\"session_id\": \"c\", \"user_id\": 7, \"timestamp\": 2, \"input_length\": 10, \"output_length\": "
      "5}\n"
      "{\"session_id\": \"d\", \"user_id\": 7, \"timestamp\": 3, \"input_length\": 10, \"output_length\": "
      "5}\n"
      "{\"timestamp\": 4, \"input_length\": 10, \"output_length\": 5}\n");
  std::vector<Request> rows(5);
  for (Request& r : rows) REQUIRE(source->next(r));
  CHECK(rows[0].session != rows[1].session);
  CHECK(rows[0].client == rows[0].session);
  CHECK(rows[2].session != rows[3].session);
  CHECK(rows[2].client == rows[3].client);
  CHECK(rows[4].session == -1);
  CHECK(rows[4].client == -1);
}
