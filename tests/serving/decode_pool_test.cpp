#include "serving/decode_pool.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"

using namespace orrery;

namespace {
KvGroups groups(int block, std::vector<KvBlockGroup> groups = {}) {
  return KvGroups({1000, block, false, false, std::move(groups)});
}

/// The same pool with one counter per sequence: what the aggregates must equal.
struct Plain {
  struct Seq {
    Tokens stored;
    std::int64_t joined;
    std::int64_t due;
  };
  std::vector<Seq> seqs;
  Tokens context(const Seq& s, std::int64_t step) const { return s.stored + 1 + (step - s.joined); }
  DecodeSet set(std::int64_t step, const std::vector<KeyCap>& windows) const {
    DecodeSet out;
    for (const auto& s : seqs) {
      ++out.seqs;
      out.context += context(s, step);
      for (std::size_t i = 0; i < windows.size(); ++i) {
        out.windowed[i] += windows[i].of(context(s, step));
        out.growing[i] += windows[i].wraps || context(s, step) < windows[i].tokens;
      }
    }
    return out;
  }
  std::int64_t blocks(std::int64_t step, std::int64_t steps, int block) const {
    const auto count = [&](Tokens t) { return (t + block - 1) / block; };
    std::int64_t sum = 0;
    for (const auto& s : seqs) {
      const Tokens now = context(s, step) - 1;
      sum += count(now + steps) - count(now);
    }
    return sum;
  }
  /// Whole blocks of tokens that nobody reads any more, found token by token.
  std::int64_t unread(std::int64_t step, const KvBlockGroup& g) const {
    std::int64_t sum = 0;
    for (const auto& s : seqs) {
      const Tokens stored = context(s, step) - 1;
      Tokens first_read = 0;  // by the token after those stored
      if (g.cap.wraps) {
        while (first_read + g.cap.tokens <= stored) first_read += g.cap.tokens;
      } else if (g.cap.tokens > 0) {
        while (first_read + g.cap.tokens < stored + 1) ++first_read;
      }
      sum += g.count * (first_read / g.block_size);
    }
    return sum;
  }
};
}  // namespace

TEST_CASE("do a decode pool's aggregates equal counting every sequence, through joins, leaves and runs?") {
  const std::vector<KeyCap> windows = {40, {64, true}, 300};
  for (int block : {1, 16, 64}) {
    const std::vector<KvBlockGroup> kinds = {{{}, false, 2, block},
                                             {40, false, 3, block},
                                             {{64, true}, false, 1, block},
                                             {300, false, 1, 2 * block},
                                             {{}, true, 5, 4096}};
    Rng rng(static_cast<std::uint64_t>(block), "pool");
    DecodePool pool(groups(block, kinds), windows);
    Plain plain;
    const auto taken = [&](std::int64_t steps) {
      return plain.blocks(pool.clock(), steps, block) * 6 + plain.blocks(pool.clock(), steps, 2 * block);
    };
    for (int i = 0; i < 3000; ++i) {
      if (plain.seqs.empty() || rng.uniform() < 0.4) {
        const Tokens stored = rng.uniform_int(1, 500);
        plain.seqs.push_back({stored, pool.clock(), 0});
        pool.join(static_cast<SeqIndex>(i), 0, stored, std::int64_t{1} << 30);
      } else if (rng.uniform() < 0.3) {
        const auto victim =
            static_cast<std::size_t>(rng.uniform_int(0, static_cast<std::int64_t>(plain.seqs.size()) - 1));
        pool.leave(plain.seqs[victim].stored, plain.seqs[victim].joined);
        plain.seqs.erase(plain.seqs.begin() + static_cast<std::ptrdiff_t>(victim));
      } else {
        const std::int64_t steps = std::min(pool.steps_to_event(), rng.uniform_int(1, 50));
        REQUIRE(pool.blocks_taken(steps) == taken(steps));
        std::int64_t unread = 0;
        for (const auto& kind : kinds) {
          unread += plain.unread(pool.clock() + steps, kind) - plain.unread(pool.clock(), kind);
        }
        REQUIRE(pool.blocks_dropped(steps) == unread);
        pool.advance(steps);
      }
      REQUIRE(pool.set() == plain.set(pool.clock(), windows));
    }
  }
}

TEST_CASE("does the sum of a chunked context fall when a sequence begins its next chunk?") {
  DecodePool pool(groups(16), {{8, true}});
  pool.join(0, 0, 5, 100);  // five tokens stored: the next query reads six
  CHECK(pool.set().windowed[0] == 6);
  REQUIRE(pool.steps_to_event() == 3);
  pool.advance(2);
  CHECK(pool.set().windowed[0] == 8);
  pool.advance(1);
  CHECK(pool.set().windowed[0] == 1);  // the ninth token reads itself only
  CHECK(pool.set().growing[0] == 1);
  CHECK(pool.steps_to_event() == 8);
}

TEST_CASE("how many steps fit in the free blocks: one fewer fits, one more does not?") {
  Rng rng(3, "pool");
  for (int i = 0; i < 500; ++i) {
    DecodePool pool(groups(16), {});
    const auto n = rng.uniform_int(1, 40);
    for (std::int64_t k = 0; k < n; ++k) {
      pool.join(static_cast<SeqIndex>(k), 0, rng.uniform_int(1, 100), 1000);
      if (rng.uniform() < 0.3) pool.advance(1);
    }
    const std::int64_t free = rng.uniform_int(0, 200);
    const std::int64_t steps = pool.steps_within(free, 900);
    CHECK(pool.blocks_taken(steps) <= free);
    CHECK((steps == 900 || pool.blocks_taken(steps + 1) > free));
  }
}

TEST_CASE("with windows, how many steps fit: as many as one by one, giving back what each leaves behind?") {
  Rng rng(4, "pool");
  std::int64_t ended = 0, whole = 0;
  for (int i = 0; i < 2000; ++i) {
    const int block = rng.uniform() < 0.5 ? 4 : 16;
    std::vector<KvBlockGroup> kinds = {{37, false, 2, block}, {{64, true}, false, 1, block}};
    if (rng.uniform() < 0.7) kinds.push_back({{}, false, 1, 2 * block});
    DecodePool pool(groups(block, kinds), {});
    const auto n = rng.uniform_int(1, 20);
    for (std::int64_t k = 0; k < n; ++k) {
      pool.join(static_cast<SeqIndex>(k), 0, rng.uniform_int(1, 400), 1000);
      if (rng.uniform() < 0.3) pool.advance(1);
    }
    const std::int64_t limit = pool.steps_to_event();
    const std::int64_t free = rng.uniform_int(0, 60);
    std::int64_t left = free, steps = 0;
    DecodePool twin = pool;
    for (; steps < limit && twin.blocks_taken(1) <= left; ++steps) {
      left += twin.blocks_dropped(1) - twin.blocks_taken(1);
      twin.advance(1);
    }
    REQUIRE(pool.steps_within(free, limit) == steps);
    ++(steps < limit ? ended : whole);
  }
  CHECK(ended > 300);
  CHECK(whole > 300);
}

namespace {
/// A pool that gains tokens at a pace, sequence by sequence: what each has after every step is counted anew.
struct PacedPlain {
  struct Seq {
    Tokens stored;
  };
  std::vector<Seq> seqs;
  TokenPace pace;

  void step() {
    const Tokens each = pace.after(1);
    pace = pace.advanced(1);
    for (auto& s : seqs) s.stored += each;
  }
};
}  // namespace

TEST_CASE("do a paced pool's aggregates, blocks and caps equal counting every sequence, step by step?") {
  const std::vector<KeyCap> windows = {7, {64, true}, 300};
  for (const TokenPace pace : {TokenPace{7, 2}, TokenPace{48, 13}, TokenPace{5, 1}, TokenPace{33, 32}}) {
    for (const int block : {1, 16}) {
      const Tokens ahead = 6;
      const std::vector<KvBlockGroup> kinds = {
          {{}, false, 2, block}, {7, false, 3, block}, {300, false, 1, block}};
      const KvGroups counts = groups(block, kinds);
      Rng rng(static_cast<std::uint64_t>(pace.tokens + block), "paced pool");
      DecodePool pool(counts, windows, pace, ahead);
      PacedPlain plain{{}, pace};
      for (int i = 0; i < 1500; ++i) {
        if (plain.seqs.empty() || rng.uniform() < 0.2) {
          plain.seqs.push_back({rng.uniform_int(1, 400)});
          pool.join(static_cast<SeqIndex>(i), 0, plain.seqs.back().stored, std::int64_t{1} << 30);
        } else if (rng.uniform() < 0.1) {
          const auto v = static_cast<std::size_t>(rng.uniform_int(0, std::ssize(plain.seqs) - 1));
          pool.leave(plain.seqs[v].stored, pool.clock());
          plain.seqs.erase(plain.seqs.begin() + static_cast<std::ptrdiff_t>(v));
        } else {
          // A run that stops short of any event, then a step that may pass one.
          const std::int64_t run = std::min(pool.steps_to_event() - 1, rng.uniform_int(0, 9));
          for (const bool passes : {false, true}) {
            const std::int64_t steps = passes ? 1 : run;
            if (steps < 1) continue;
            const std::int64_t taken = pool.blocks_taken(steps);
            std::int64_t expected = 0, behind = 0;
            for (const auto& s : plain.seqs) expected -= counts.needed(0, s.stored + ahead);
            for (const auto& s : plain.seqs) behind -= counts.dropped(0, s.stored);
            for (std::int64_t k = 0; k < steps; ++k) plain.step();
            for (const auto& s : plain.seqs) expected += counts.needed(0, s.stored + ahead);
            for (const auto& s : plain.seqs) behind += counts.dropped(0, s.stored);
            REQUIRE(taken == expected);
            if (!passes) {
              REQUIRE(pool.blocks_dropped(steps) == behind);
              pool.advance(steps);
            } else {
              REQUIRE(pool.advance_step() == behind);
            }
          }
        }
        DecodeSet expected;
        expected.pace = plain.pace;
        for (const auto& s : plain.seqs) {
          ++expected.seqs, expected.context += s.stored + 1;
          for (std::size_t w = 0; w < windows.size(); ++w) {
            expected.windowed[w] += windows[w].of(s.stored + 1);
            expected.growing[w] += windows[w].wraps || s.stored + 1 < windows[w].tokens;
          }
        }
        REQUIRE(pool.set() == expected);
      }
    }
  }
}

TEST_CASE("how many paced steps fit in the free blocks: as many as taking them one by one?") {
  Rng rng(9, "paced steps");
  for (int i = 0; i < 400; ++i) {
    const TokenPace pace{rng.uniform_int(5, 20), 5};
    std::vector<KvBlockGroup> kinds = {{{}, false, 1, 16}};
    if (rng.uniform() < 0.5) kinds.push_back({40, false, 2, 16});
    DecodePool pool(groups(16, kinds), {}, pace, 3);
    const auto n = rng.uniform_int(1, 20);
    for (std::int64_t k = 0; k < n; ++k)
      pool.join(static_cast<SeqIndex>(k), 0, rng.uniform_int(50, 200), 1000);
    const std::int64_t free = rng.uniform_int(0, 200),
                       limit = std::min<std::int64_t>(pool.steps_to_event(), 60);
    std::int64_t left = free, fit = 0;
    DecodePool walk = pool;
    for (; fit < limit; ++fit) {
      const std::int64_t taken = walk.blocks_taken(1);
      if (taken > left) break;
      left += walk.advance_step() - taken;
    }
    REQUIRE(pool.steps_within(free, limit) == fit);
  }
}
