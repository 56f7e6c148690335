#include "serving/decode_pool.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"

using namespace orrery;

namespace {
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
        out.growing[i] += context(s, step) < windows[i].tokens;
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
};
}  // namespace

TEST_CASE("do a decode pool's aggregates equal counting every sequence, through joins, leaves and runs?") {
  const std::vector<KeyCap> windows = {40, 300};
  for (int block : {1, 16, 64}) {
    Rng rng(static_cast<std::uint64_t>(block), "pool");
    DecodePool pool(block, windows);
    Plain plain;
    for (int i = 0; i < 3000; ++i) {
      if (plain.seqs.empty() || rng.uniform() < 0.4) {
        const Tokens stored = rng.uniform_int(1, 500);
        plain.seqs.push_back({stored, pool.step(), 0});
        pool.join(static_cast<SeqIndex>(i), 0, stored, std::int64_t{1} << 30);
      } else if (rng.uniform() < 0.3) {
        const auto victim =
            static_cast<std::size_t>(rng.uniform_int(0, static_cast<std::int64_t>(plain.seqs.size()) - 1));
        pool.leave(plain.seqs[victim].stored, plain.seqs[victim].joined);
        plain.seqs.erase(plain.seqs.begin() + static_cast<std::ptrdiff_t>(victim));
      } else {
        const std::int64_t steps = std::min(pool.steps_to_event(), rng.uniform_int(1, 50));
        REQUIRE(pool.blocks_needed(steps) == plain.blocks(pool.step(), steps, block));
        pool.advance(steps);
      }
      REQUIRE(pool.set() == plain.set(pool.step(), windows));
    }
  }
}

TEST_CASE("how many steps fit in the free blocks: one fewer fits, one more does not?") {
  Rng rng(3, "pool");
  for (int i = 0; i < 500; ++i) {
    DecodePool pool(16, {});
    const auto n = rng.uniform_int(1, 40);
    for (std::int64_t k = 0; k < n; ++k) {
      pool.join(static_cast<SeqIndex>(k), 0, rng.uniform_int(1, 100), 1000);
      if (rng.uniform() < 0.3) pool.advance(1);
    }
    const std::int64_t free = rng.uniform_int(0, 200);
    const std::int64_t steps = pool.steps_within(free, 900);
    CHECK(pool.blocks_needed(steps) <= free);
    CHECK((steps == 900 || pool.blocks_needed(steps + 1) > free));
  }
}
