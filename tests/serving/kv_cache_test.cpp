#include "serving/kv_cache.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

namespace {
Sequence sequence(RequestId id, std::int32_t prompt, std::vector<std::uint64_t> ids = {},
                  int block_tokens = 512) {
  Sequence seq;
  seq.request.id = id;
  seq.request.prompt_tokens = prompt;
  seq.target = prompt;
  if (!ids.empty())
    seq.request.prefix = std::make_shared<PrefixKeys>(PrefixKeys{std::move(ids), block_tokens});
  return seq;
}
void admit(KvCache& kv, Sequence& seq) {
  const auto hit = kv.lookup(seq);
  kv.admit(seq, hit, seq.target);
}
}  // namespace

TEST_CASE("is one block reserved, and are all others usable?") {
  KvCache kv({101, 16, true});
  CHECK(kv.total_blocks() == 100);
  CHECK(kv.free_blocks() == 100);
}

TEST_CASE("is a prompt hit up to its last full block, but never wholly?") {
  KvCache kv({1001, 16, true});
  Sequence first = sequence(0, 1024, {7, 8});
  CHECK(kv.lookup(first).tokens == 0);
  admit(kv, first);
  CHECK(kv.used_blocks() == 64);

  Sequence same = sequence(1, 1024, {7, 8});
  CHECK(kv.lookup(same).tokens == 1008);  // 63 of 64 blocks: one token at least is computed
  Sequence longer = sequence(2, 1030, {7, 8, 9});
  CHECK(kv.lookup(longer).tokens == 1024);
  Sequence other = sequence(3, 1024, {7, 10});
  CHECK(kv.lookup(other).tokens == 512);
  Sequence stranger = sequence(4, 1024, {11, 8});
  CHECK(kv.lookup(stranger).tokens == 0);  // an id is good only behind the same prefix
}

TEST_CASE("do sequences that share a prefix hold its blocks once?") {
  KvCache kv({1001, 16, true});
  Sequence a = sequence(0, 1000, {1, 2}), b = sequence(1, 1100, {1, 2, 3});
  admit(kv, a);
  CHECK(kv.used_blocks() == 63);
  admit(kv, b);  // hits 512 + 488/16*16 = 992 of a's tokens, 62 blocks; 69 in all
  CHECK(b.hold.shared_blocks >= 62);
  CHECK(kv.used_blocks() == 63 + 69 - 62);
  kv.release(a, 1000, false);
  kv.release(b, 1100, false);
  CHECK(kv.free_blocks() == 1000);
}

TEST_CASE("is a freed prefix hit until its blocks are taken, tail first?") {
  KvCache kv({101, 16, true});
  Sequence a = sequence(0, 1024, {1, 2});  // 64 of 100 blocks
  admit(kv, a);
  kv.release(a, 1024, false);
  Sequence again = sequence(1, 1025, {1, 2, 3});
  CHECK(kv.lookup(again).tokens == 1024);
  kv.take(36);  // never-used blocks go first
  CHECK(kv.lookup(again).tokens == 1024);
  kv.take(10);  // then the least recently freed: the tail of the second unit
  CHECK(kv.lookup(again).tokens == 1024 - 160);
  kv.take(40);
  CHECK(kv.lookup(again).tokens == 512 - 18 * 16);
}

TEST_CASE("does a preempted sequence find what was not evicted of its own blocks?") {
  KvCache kv({101, 16, true});
  Sequence a = sequence(0, 800);
  admit(kv, a);
  kv.release(a, 800, true);
  a.target = 810;
  CHECK(kv.lookup(a).tokens == 800);
  kv.take(60);  // 50 free ones, then 10 of its own
  CHECK(kv.lookup(a).tokens == 640);
  const auto hit = kv.lookup(a);
  kv.admit(a, hit, 640);
  CHECK(kv.used_blocks() == 100);
}

TEST_CASE("does turning prefix caching off forget everything?") {
  KvCache kv({101, 16, false});
  Sequence a = sequence(0, 512, {1}), b = sequence(1, 600, {1, 2});
  admit(kv, a);
  CHECK(kv.lookup(b).tokens == 0);
}

TEST_CASE("do ids shorter than a block, or not a multiple of one, still name whole blocks?") {
  KvCache kv({1001, 32, true});
  Sequence a = sequence(0, 96, {1, 2, 3, 4, 5, 6}, 16);
  admit(kv, a);
  Sequence b = sequence(1, 97, {1, 2, 3, 4, 5, 6, 7}, 16), c = sequence(2, 97, {1, 2, 3, 9, 5, 6, 7}, 16);
  CHECK(kv.lookup(b).tokens == 96);
  CHECK(kv.lookup(c).tokens == 32);
  KvCache odd({1001, 16, true});
  Sequence d = sequence(3, 240, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 24),
           e = sequence(4, 241, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 24);
  admit(odd, d);
  CHECK(odd.lookup(e).tokens == 240);
}

TEST_CASE(
    "does a sequence that resumes leave alone what others cached behind its prompt's last full block?") {
  KvCache kv({68, 16, true});
  Sequence a = sequence(0, 513, {1, 2});  // unit 1 holds its 32 full blocks; of unit 2 it has one token
  admit(kv, a);
  kv.take(2);  // 40 tokens later
  kv.release(a, 553, true);
  Sequence b = sequence(1, 1024, {1, 2});
  admit(kv, b);
  kv.release(b, 1024, false);
  REQUIRE(kv.free_blocks() == 67);

  a.target = 554;
  const auto hit = kv.lookup(a);
  CHECK(hit.tokens == 544);  // 32 blocks of the prompt, 2 of its own
  kv.admit(a, hit, 554);
  CHECK(kv.used_blocks() == 35);  // its blocks and not the 32 of unit 2
}

TEST_CASE("where ids name only the start of a prompt, is nothing behind them hit?") {
  KvCache kv({1001, 16, true});
  Sequence a = sequence(0, 200, {1, 2, 3}, 24), b = sequence(1, 200, {1, 2, 3}, 24);
  admit(kv, a);
  CHECK(kv.lookup(b).tokens == 64);  // four full blocks lie within 3 * 24 = 72 tokens
}
