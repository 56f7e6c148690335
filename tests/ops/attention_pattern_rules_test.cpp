#include <cmath>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "ops/attention_masks.hpp"

using namespace orrery;
using namespace masks;

TEST_CASE("do chosen keys number their budget and share of the visible ones?") {
  for (const Tokens budget : {0, 1, 8, 64, 600}) {
    for (const double fraction : {0.0, 0.25, 1.0}) {
      for (const Tokens window : {0, 16}) {
        if (budget == 0 && fraction == 0) continue;
        for (const bool causal : {true, false}) {
          const auto p = with([&](auto& x) {
            x.causal = causal, x.window = window, x.globals = 2;
            x.select.emplace();
            x.select->budget = budget, x.select->fraction = fraction;
          });
          p.check("test");
          for (const PrefillChunk& chunk : kChunks) {
            const Tokens n = chunk.past + chunk.new_tokens;
            double expected = 0, last = 0;
            for (Tokens q = chunk.past; q < n; ++q) {
              const auto visible = static_cast<double>(causal ? q + 1 : n);
              last = std::min(visible, static_cast<double>(2 + window + budget) + fraction * visible);
              expected += last;
            }
            INFO("budget " << budget << " fraction " << fraction << " window " << window << " causal "
                           << causal << " new " << chunk.new_tokens << " past " << chunk.past);
            CHECK(p.pairs(chunk) == Approx(expected).epsilon(1e-12));
            CHECK(value_of(p.decode_terms(), n) == Approx(last).margin(1.0));
            CHECK(value_of(p.resident_terms(), n) == static_cast<double>(n));
            auto evicting = p;
            evicting.select->evicts = true;
            CHECK(value_of(evicting.resident_terms(), n) == Approx(last).margin(1.0));
          }
        }
      }
    }
  }
}

TEST_CASE("do tokens that are dropped neither query nor answer?") {
  const auto kept = [](double fraction, Tokens budget) {
    return with([&](auto& x) {
      x.select.emplace();
      x.select->queries = true, x.select->fraction = fraction, x.select->budget = budget;
    });
  };
  // Half of 128 tokens: 64 causal queries among themselves; the chunks of a prompt add up to the prompt.
  CHECK(kept(0.5, 0).pairs({128, 0}) == 64.0 * 65 / 2);
  CHECK(kept(0.5, 0).pairs({100, 0}) + kept(0.5, 0).pairs({28, 100}) == kept(0.5, 0).pairs({128, 0}));
  CHECK(kept(0, 40).pairs({128, 0}) == 40.0 * 41 / 2);
  CHECK(kept(0, 40).pairs({30, 0}) == 30.0 * 31 / 2);
  CHECK(kept(0, 40).keys({128, 0}) == 40);
  CHECK(value_of(kept(0, 40).resident_terms(), 1000) == 40);
}

TEST_CASE(
    "do summaries stand for their tokens once, and in Compressive Transformer only for those that left?") {
  for (const Tokens c : {1, 3, 16}) {
    const auto all = with([&](auto& x) {
      x.local = false, x.globals = 1;
      x.summaries.emplace();
      x.summaries->stride = c;
    });
    const auto old = with([&](auto& x) {
      x.window = 24;
      x.summaries.emplace();
      x.summaries->stride = c, x.summaries->most = 5;
    });
    for (const PrefillChunk& chunk : kChunks) {
      double expected_all = 0, expected_old = 0;
      const Tokens n = chunk.past + chunk.new_tokens;
      for (Tokens i = chunk.past + 1; i <= n; ++i) {
        expected_all += static_cast<double>(1 + i / c);
        expected_old += static_cast<double>(std::min<Tokens>(i, 24));
        expected_old += static_cast<double>(std::min<Tokens>(5, i > 24 ? (i - 24) / c : 0));
      }
      INFO("one per " << c << " new " << chunk.new_tokens << " past " << chunk.past);
      CHECK(all.pairs(chunk) == expected_all);
      CHECK(old.pairs(chunk) == expected_old);
      CHECK(value_of(all.decode_terms(), n) == Approx(static_cast<double>(1 + n / c)).margin(1.0));
      const double covered = static_cast<double>(std::min<Tokens>(n, 24)) +
                             std::min(5.0, n > 24 ? static_cast<double>((n - 24) / c) : 0.0);
      CHECK(value_of(old.decode_terms(), n) == Approx(covered).margin(1.0));
      CHECK(value_of(old.resident_terms(), n) == Approx(covered).margin(1.0));
    }
  }
}

TEST_CASE("do summaries that a query chooses among all stay, and are read up to the budget?") {
  // DeepSeek-V4: a window of 128, and 512 of the summaries of 4 tokens each.
  const auto p = with([](auto& x) {
    x.window = 128;
    x.summaries.emplace().stride = 4;
    x.select.emplace().budget = 512, x.select->summaries = true;
  });
  p.check("test");
  for (const PrefillChunk& chunk : {PrefillChunk{3000, 0}, {100, 2000}, {1, 5000}, {700, 1800}}) {
    double expected = 0;
    const Tokens n = chunk.past + chunk.new_tokens;
    for (Tokens i = chunk.past + 1; i <= n; ++i) {
      expected += static_cast<double>(std::min<Tokens>(i, 128) + std::min<Tokens>(i / 4, 512));
    }
    CHECK(p.pairs(chunk) == expected);
    CHECK(value_of(p.resident_terms(), n) == Approx(static_cast<double>(128 + n / 4)).margin(1));
    const double read = static_cast<double>(128 + std::min<Tokens>(n / 4, 512));
    CHECK(value_of(p.decode_terms(), n) == Approx(read).margin(1));
  }
}
TEST_CASE("is a pattern dense in the phase it does not hold in, and always while training alone?") {
  const PrefillChunk chunk{100, 20};
  const AttentionPattern full;
  for (const Phase phase : {Phase::always, Phase::prefill, Phase::decode, Phase::training}) {
    const auto p = with([&](auto& x) { x.window = 16, x.phase = phase; });
    const bool in_prefill = phase == Phase::always || phase == Phase::prefill;
    const bool in_decode = phase == Phase::always || phase == Phase::decode;
    CHECK((p.pairs(chunk) == full.pairs(chunk)) == !in_prefill);
    CHECK((p.keys(chunk) == 120) == !in_prefill);
    CHECK(value_of(p.decode_terms(), 500) == (in_decode ? 16 : 500));
    CHECK(value_of(p.resident_terms(), 500) == (in_decode ? 16 : 500));
  }
}

TEST_CASE("does a pattern say from which context on it does something?") {
  CHECK(AttentionPattern(4096).covers(4096));
  CHECK_FALSE(AttentionPattern(4096).covers(4097));
  const auto covers = [](const std::function<void(AttentionPattern&)>& set, Tokens n) {
    return with(set).covers(n);
  };
  CHECK(covers([](auto& p) { p.window = 100, p.globals = 4; }, 104));
  CHECK_FALSE(covers([](auto& p) { p.window = 100, p.globals = 4; }, 105));
  CHECK(covers([](auto& p) { p.block = 8192; }, 8192));
  CHECK_FALSE(covers([](auto& p) { p.block = 8192; }, 8193));
  CHECK(covers([](auto& p) { p.local = false, p.globals = 50; }, 50));
  CHECK_FALSE(covers([](auto& p) { p.local = false, p.globals = 50; }, 51));
  const auto chosen = [](AttentionPattern& p) { p.select.emplace().budget = 2048; };
  CHECK(covers(chosen, 2048));
  CHECK_FALSE(covers(chosen, 2049));
  CHECK(covers([](auto& p) { p.block = 64, p.phase = Phase::training; }, 1 << 20));
}

TEST_CASE("is a contradictory pattern refused in a sentence that names the field?") {
  const auto refused = [](const std::function<void(AttentionPattern&)>& set, const std::string& word) {
    try {
      with(set).check("layers[3].attention");
    } catch (const ConfigError& e) {
      return std::string(e.what()).find(word) != std::string::npos &&
             std::string(e.what()).find("layers[3].attention") != std::string::npos;
    }
    return false;
  };
  CHECK(refused([](auto& p) { p.window = -1; }, "window"));
  CHECK(refused([](auto& p) { p.window = 16, p.block = 16; }, "block"));
  CHECK(refused([](auto& p) { p.dilation = 0; }, "dilation"));
  CHECK(refused([](auto& p) { p.dilation = 2; }, "dilation"));
  CHECK(refused([](auto& p) { p.memory = 2; }, "memory"));
  CHECK(refused([](auto& p) { p.window_growth = 1.5, p.window = 4; }, "window_growth"));
  CHECK(refused([](auto& p) { p.select.emplace(); }, "select"));
  CHECK(refused([](auto& p) { p.select.emplace().budget = 4, p.select->index = KeyIndex::indexer; },
                "index_heads"));
  CHECK(refused([](auto& p) { p.local = false, p.window = 4; }, "local"));
  CHECK(refused([](auto& p) { p.summaries.emplace(); }, "summaries"));
}

TEST_CASE("does a token tree have a pair for each token and ancestor, and a chain those of a chunk?") {
  // Two children of the root, three grandchildren under the first: depths 1 1 2 2 2.
  const std::vector<Tokens> tree{1, 1, 2, 2, 2}, chain{1, 2, 3, 4};
  CHECK(tree_pairs(1000, tree) == 5 * 1000 + 8);
  CHECK(tree_pairs(1000, chain) == AttentionPattern{}.pairs({4, 1000}));
}

TEST_CASE("do hashed buckets read as many keys as their sorted chunks hold, masked or not?") {
  // Reformer: queries sorted by bucket, in chunks; each chunk reads itself and the one before it, round by
  // round (the first reads the last).
  const Tokens n = 512;
  for (const Tokens chunk : {16, 64}) {
    for (const std::int64_t rounds : {1, 2, 4}) {
      double computed = 0;
      for (std::int64_t round = 0; round < rounds; ++round) {
        for (Tokens place = 0; place < n; ++place) {
          const Tokens own = place / chunk, before = (own + n / chunk - 1) % (n / chunk);
          for (Tokens other = 0; other < n; ++other) {
            computed += other / chunk == own || other / chunk == before ? 1 : 0;
          }
        }
      }
      const auto p = with([&](auto& x) {
        x.select.emplace().index = KeyIndex::hash;
        x.select->budget = 2 * rounds * chunk, x.select->block = chunk, x.select->hashes = rounds;
      });
      p.check("test");
      const double most = static_cast<double>(n * n);  // no round reads more than there is
      CHECK(p.pairs({n, 0}) == std::min(computed, most));
    }
  }
}

TEST_CASE("do balanced clusters hold their share of the keys before each query?") {
  const Tokens n = 512;
  for (const Tokens clusters : {4, 16}) {
    const auto p = with([&](auto& x) {
      x.select.emplace().index = KeyIndex::centroids;
      x.select->fraction = 1.0 / static_cast<double>(clusters), x.select->buckets = clusters;
    });
    p.check("test");
    for (const bool causal : {true, false}) {
      auto both = p;
      both.causal = causal;
      const Mask mask = [=](Tokens q, Tokens k, Tokens) { return (q - k) % clusters == 0; };
      // A query's own key is there for sure, not by its share: less than one key apart.
      const double apart = (count(mask, causal, {n, 0}).pairs - both.pairs({n, 0})) / static_cast<double>(n);
      CHECK(apart >= 0);
      CHECK(apart < 1);
    }
  }
}

TEST_CASE("do chosen blocks hold their budget, the newest of them filled up?") {
  // The best blocks of 16 are the newest four here; the last is partly empty.
  const Tokens block = 16, blocks = 4;
  const auto p = with([&](auto& x) {
    x.select.emplace().index = KeyIndex::blocks;
    x.select->budget = block * blocks, x.select->block = block;
  });
  const Mask mask = [=](Tokens q, Tokens k, Tokens) { return q / block - k / block < blocks; };
  for (const PrefillChunk& chunk : kChunks) {
    const double expected = count(mask, true, chunk).pairs, m = static_cast<double>(chunk.new_tokens);
    CHECK(p.pairs(chunk) >= expected);
    CHECK(p.pairs(chunk) - expected <= m * static_cast<double>(block - 1));
  }
}
