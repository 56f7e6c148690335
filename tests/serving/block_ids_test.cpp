// A cache that names its blocks against one that counts them: the same calls, the same decisions, and a model
// of the memory behind the names.
#include <algorithm>
#include <set>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "serving/kv_cache.hpp"
#include "support/token_content.hpp"

using namespace orrery;

namespace {

/// Drives both caches. A block's content is that of its last token; 0 = not yet full.
class Twins {
 public:
  Twins(KvConfig config, std::int32_t key_tokens, std::uint64_t seed)
      : counts_(config),
        named_(with_ids(config)),
        memory_(static_cast<std::size_t>(config.blocks)),
        rng_(seed, "twins"),
        key_tokens_(key_tokens) {}

  void step() {
    const double what = rng_.uniform();
    if (live_.empty() || what < 0.3) {
      admit();
    } else if (what < 0.5) {
      extend(pick(live_));
    } else if (what < 0.75) {
      grow(pick(live_));
    } else {
      leave(pick(live_), what < 0.87);
    }
    check();
  }
  std::int64_t hits = 0, resumed_hits = 0;

 private:
  struct Pair {
    Sequence counted, named;
    Tokens stored = 0;
  };

  static KvConfig with_ids(KvConfig config) {
    config.block_ids = true;
    return config;
  }
  std::size_t pick(const std::vector<Pair>& from) {
    return static_cast<std::size_t>(rng_.uniform_int(0, std::ssize(from) - 1));
  }

  Pair arrival() {
    Pair p;
    Request r;
    r.id = next_id_++;
    r.prompt_tokens = static_cast<std::int32_t>(rng_.uniform_int(1, 20 * counts_.block_size()));
    if (rng_.uniform() < 0.8) r.prefix = test::random_prefix(rng_, r.id, r.prompt_tokens, key_tokens_);
    p.counted.request = p.named.request = r;
    p.counted.target = p.named.target = r.prompt_tokens;
    return p;
  }

  /// A new sequence, or one that was preempted, with its whole prompt or a first chunk.
  void admit() {
    const bool resume = !away_.empty() && rng_.uniform() < 0.6;
    const std::size_t which = resume ? pick(away_) : 0;
    Pair p = resume ? away_[which] : arrival();
    const KvCache::Hit hit = counts_.lookup(p.counted), same = named_.lookup(p.named);
    REQUIRE(hit.tokens == same.tokens);
    REQUIRE(hit.free_blocks == same.free_blocks);
    const Tokens tokens =
        rng_.uniform() < 0.5 ? p.named.target : rng_.uniform_int(hit.tokens + 1, p.named.target);
    const std::int64_t blocks = counts_.blocks_for(tokens) - hit.tokens / counts_.block_size();
    if (blocks > counts_.free_blocks() - hit.free_blocks) return;
    counts_.admit(p.counted, hit, tokens);
    named_.admit(p.named, same, tokens);
    (resume ? resumed_hits : hits) += hit.tokens;
    write(p, hit.tokens, tokens);
    if (resume) away_.erase(away_.begin() + static_cast<std::ptrdiff_t>(which));
    live_.push_back(std::move(p));
  }

  void extend(std::size_t which) {
    Pair& p = live_[which];
    if (p.stored >= p.named.target) return;
    const Tokens after = rng_.uniform_int(p.stored + 1, p.named.target);
    if (counts_.blocks_for(after) - counts_.blocks_for(p.stored) > counts_.free_blocks()) return;
    counts_.extend(p.counted, p.stored, after);
    named_.extend(p.named, p.stored, after);
    write(p, p.stored, after);
  }

  void grow(std::size_t which) {
    Pair& p = live_[which];
    if (p.stored < p.named.target) return;
    const Tokens after = p.stored + rng_.uniform_int(1, 2 * counts_.block_size());
    const std::int64_t blocks = counts_.blocks_for(after) - counts_.blocks_for(p.stored);
    if (blocks > counts_.free_blocks()) return;
    counts_.take(blocks);
    named_.grow(p.named, blocks);
    write(p, p.stored, after);
  }

  void leave(std::size_t which, bool preempted) {
    Pair p = std::move(live_[which]);
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(which));
    counts_.release(p.counted, p.stored, preempted);
    named_.release(p.named, p.stored, preempted);
    REQUIRE(named_.block_table(p.named).empty());
    if (!preempted) return;
    p.counted.target = p.named.target = std::max(p.named.target, p.stored + 1);
    away_.push_back(std::move(p));
  }

  void write(Pair& p, Tokens from, Tokens to) {
    const int size = named_.block_size();
    const auto table = named_.block_table(p.named);
    for (Tokens t = from; t < to; ++t) {
      const bool full = (t + 1) % size == 0;
      memory_.at(static_cast<std::size_t>(table[static_cast<std::size_t>(t / size)])) =
          full ? test::content(p.named.request, t) : 0;
    }
    p.stored = to;
  }

  void check() {
    REQUIRE(counts_.free_blocks() == named_.free_blocks());
    REQUIRE(named_.free_blocks() + named_.used_blocks() == named_.total_blocks());
    std::set<std::int32_t> own, shared;
    for (const Pair& p : live_) check(p, own, shared);
    std::set<std::int32_t> held = own;
    held.insert(shared.begin(), shared.end());
    REQUIRE(held.size() == own.size() + shared.size());
    REQUIRE(std::ssize(held) <= named_.used_blocks());  // a unit may be held further than a table reaches

    KvCache drained = named_;
    Sequence rest;
    drained.admit(rest, {}, drained.free_blocks() * drained.block_size());
    const auto free = drained.block_table(rest);
    held.insert(free.begin(), free.end());
    REQUIRE(held.size() == own.size() + shared.size() + free.size());  // none is free and held
    REQUIRE((held.empty() || (*held.begin() >= 1 && *held.rbegin() <= named_.total_blocks())));
  }

  void check(const Pair& p, std::set<std::int32_t>& own, std::set<std::int32_t>& shared) const {
    const auto table = named_.block_table(p.named);
    REQUIRE(p.counted.hold.shared_blocks == p.named.hold.shared_blocks);
    REQUIRE(p.counted.hold.own_from == p.named.hold.own_from);
    REQUIRE(std::ssize(table) == named_.blocks_for(p.stored));
    std::int64_t in_two_tables = 0, foreign = 0;
    for (std::int64_t i = 0; i < std::ssize(table); ++i) {
      const std::int32_t block = table[static_cast<std::size_t>(i)];
      const bool is_shared = i < p.named.hold.shared_blocks;
      in_two_tables += !(is_shared ? shared : own).insert(block).second && !is_shared;
      const Tokens end = (i + 1) * named_.block_size();
      foreign += end <= p.stored &&
                 memory_[static_cast<std::size_t>(block)] != test::content(p.named.request, end - 1);
    }
    REQUIRE(in_two_tables == 0);
    REQUIRE(foreign == 0);
  }

  KvCache counts_, named_;
  std::vector<std::uint64_t> memory_;
  Rng rng_;
  std::vector<Pair> live_, away_;
  RequestId next_id_ = 0;
  std::int32_t key_tokens_;
};

}  // namespace

TEST_CASE("does naming the blocks change no decision, and does each block hold what its table says?") {
  std::int64_t hits = 0, resumed_hits = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const int size = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 4 : 16;
    INFO("seed " << seed);
    static constexpr std::int32_t kKeyTokens[] = {4, 16, 24, 64};
    Twins twins({40 + static_cast<std::int64_t>(seed) * 3, size, seed % 5 != 4}, kKeyTokens[seed / 3 % 4],
                seed);
    for (int i = 0; i < 1000; ++i) twins.step();
    hits += twins.hits, resumed_hits += twins.resumed_hits;
  }
  CHECK(hits > 10000);
  CHECK(resumed_hits > 10000);
}

TEST_CASE("are blocks dealt out from 1 in order, and taken again least recently freed first?") {
  KvCache kv({9, 4, false, true});
  Sequence a, b, c;
  CHECK_THROWS_AS(kv.grow(a, 1), InternalError);  // not admitted
  kv.admit(a, {}, 8);
  kv.grow(a, 1);
  kv.admit(b, {}, 8);
  const auto blocks = [&](const Sequence& seq) {
    const auto table = kv.block_table(seq);
    return std::vector<int>(table.begin(), table.end());
  };
  CHECK(blocks(a) == std::vector{1, 2, 3});
  CHECK(blocks(b) == std::vector{4, 5});
  kv.release(b, 8, false);
  kv.release(a, 12, false);
  kv.admit(c, {}, 32);  // those never used, then b's and a's, each from its last block
  CHECK(blocks(c) == std::vector{6, 7, 8, 5, 4, 3, 2, 1});
}

TEST_CASE("do sequences with the same prefix have the same blocks at the head of their tables?") {
  KvCache kv({101, 16, true, true});
  const auto keys = std::make_shared<const PrefixKeys>(PrefixKeys{{1, 2}, 32});
  Sequence a, b;
  a.request.id = 0, b.request.id = 1;
  a.request.prefix = b.request.prefix = keys;
  a.request.prompt_tokens = b.request.prompt_tokens = 64;
  a.target = b.target = 64;
  kv.admit(a, kv.lookup(a), 64);
  kv.admit(b, kv.lookup(b), 64);  // hits three of four full blocks
  const auto first = kv.block_table(a), second = kv.block_table(b);
  REQUIRE(first.size() == 4);
  REQUIRE(second.size() == 4);
  CHECK(std::equal(first.begin(), first.begin() + 3, second.begin()));
  CHECK(first[3] != second[3]);
}
