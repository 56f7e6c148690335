#include "report/invariants.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "report/events.hpp"

using namespace orrery;
using namespace orrery::testing;

namespace {

/// One request of three tokens, as a correct simulation tells it.
void tell(Observer& o) {
  o.on_arrival(request(0, ms(0), 100, 3), {});
  o.on_mixed_step(mixed_step(ms(1), ms(10), 0, {{0, 100, 0, true}}));
  o.on_decode_run(decode_run(ms(11), ms(5), ms(1), 2, 1));
  auto r = record(0, ms(0), ms(1), ms(10), ms(5), 3);
  r.done = ms(22);
  o.on_request_done(r);
}

}  // namespace

TEST_CASE("does a correct run pass the invariants?") {
  Invariants laws;
  tell(laws);
  CHECK_NOTHROW(laws.on_end(ms(22)));
  CHECK(laws.steps() == 3);
  CHECK(laws.tokens_delivered() == 3);
}

TEST_CASE("is a broken law noticed?") {
  Invariants laws({.max_num_seqs = 4, .max_num_batched_tokens = 128});
  SECTION("a token too many") {
    tell(laws);
    laws.on_decode_run(decode_run(ms(22), ms(5), Ps(0), 1, 1));
    CHECK_THROWS_AS(laws.on_end(ms(30)), InternalError);
  }
  SECTION("overlapping steps") {
    laws.on_decode_run(decode_run(ms(0), ms(5), Ps(0), 2, 1));
    CHECK_THROWS_AS(laws.on_decode_run(decode_run(ms(9), ms(5), Ps(0), 1, 1)), InternalError);
  }
  SECTION("more running than allowed") {
    CHECK_THROWS_AS(laws.on_decode_run(decode_run(ms(0), ms(5), Ps(0), 2, 5)), InternalError);
  }
  SECTION("more blocks than there are") {
    auto run = decode_run(ms(0), ms(5), Ps(0), 2, 1);
    run.load.kv_blocks_used = 1001;
    CHECK_THROWS_AS(laws.on_decode_run(run), InternalError);
  }
  SECTION("a step over its token budget") {
    CHECK_THROWS_AS(laws.on_mixed_step(mixed_step(ms(0), ms(5), 29, {{0, 100, 0, true}})), InternalError);
  }
  SECTION("an effect before its cause") {
    laws.on_arrival(request(0, ms(10)), {});
    auto r = record(0, ms(10), ms(1), ms(10), ms(5), 3);
    r.scheduled = ms(9);
    CHECK_THROWS_AS(laws.on_request_done(r), InternalError);
  }
  SECTION("a request that leaves twice") {
    tell(laws);
    CHECK_THROWS_AS(laws.on_request_done(record(0, ms(0), ms(1), ms(10), ms(5), 3)), InternalError);
  }
}
