#include "ops/attention_pattern.hpp"

#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {

/// Whether the query at position q (from 0) sees the key at position k of n, written from the papers' masks
/// without the pattern's own arithmetic.
using Mask = std::function<bool(Tokens q, Tokens k, Tokens n)>;

struct Case {
  std::string name;
  AttentionPattern pattern;
  Mask mask;  ///< not yet causal
};

struct Counted {
  double pairs = 0;
  Tokens keys = 0;
};

Counted count(const Mask& mask, bool causal, const PrefillChunk& chunk) {
  const Tokens n = chunk.past + chunk.new_tokens;
  Counted counted;
  std::set<Tokens> seen;
  for (Tokens q = chunk.past; q < n; ++q) {
    for (Tokens k = 0; k < (causal ? q + 1 : n); ++k) {
      if (!mask(q, k, n)) continue;
      ++counted.pairs;
      seen.insert(k);
    }
  }
  counted.keys = static_cast<Tokens>(seen.size());
  return counted;
}

AttentionPattern with(const std::function<void(AttentionPattern&)>& set) {
  AttentionPattern p;
  set(p);
  return p;
}

/// The masks of the catalogue's patterns that depend on positions alone.
std::vector<Case> cases(Tokens w) {
  const auto apart = [](Tokens q, Tokens k) { return std::abs(q - k); };
  std::vector<Case> list;
  list.push_back({"full", {}, [](Tokens, Tokens, Tokens) { return true; }});
  list.push_back({"window", w, [=](Tokens q, Tokens k, Tokens) { return apart(q, k) < w; }});
  for (const Tokens g : {1, 4, 100}) {
    list.push_back({"window and globals", with([&](auto& p) { p.window = w, p.globals = g; }),
                    [=](Tokens q, Tokens k, Tokens) { return k < g || q < g || apart(q, k) < w; }});
    list.push_back({"globals alone", with([&](auto& p) { p.local = false, p.globals = g; }),
                    [=](Tokens q, Tokens k, Tokens) { return k < g || q < g; }});
    list.push_back({"strides and globals", with([&](auto& p) { p.window = w, p.stride = w, p.globals = g; }),
                    [=](Tokens q, Tokens k, Tokens) {
                      return k < g || q < g || apart(q, k) < w || apart(q, k) % w == 0;
                    }});
    list.push_back({"blocks and globals", with([&](auto& p) { p.block = w, p.globals = g; }),
                    [=](Tokens q, Tokens k, Tokens) { return k < g || q < g || q / w == k / w; }});
    list.push_back(
        {"blocks, neighbours and globals", with([&](auto& p) { p.block = w, p.memory = w, p.globals = g; }),
         [=](Tokens q, Tokens k, Tokens) { return k < g || q < g || std::abs(q / w - k / w) <= 1; }});
  }
  for (const Tokens rho : {2, 3}) {
    list.push_back({"dilated window", with([&](auto& p) { p.window = w, p.dilation = rho, p.globals = 2; }),
                    [=](Tokens q, Tokens k, Tokens) {
                      return k < 2 || q < 2 || (apart(q, k) < w * rho && apart(q, k) % rho == 0);
                    }});
  }
  list.push_back({"strided", with([&](auto& p) { p.window = w, p.stride = w; }),
                  [=](Tokens q, Tokens k, Tokens) { return apart(q, k) < w || apart(q, k) % w == 0; }});
  list.push_back({"wide window, short stride", with([&](auto& p) { p.window = 3 * w, p.stride = w; }),
                  [=](Tokens q, Tokens k, Tokens) { return apart(q, k) < 3 * w || apart(q, k) % w == 0; }});
  list.push_back({"columns of an image", with([&](auto& p) { p.local = false, p.stride = w; }),
                  [=](Tokens q, Tokens k, Tokens) { return apart(q, k) % w == 0; }});
  list.push_back({"blocks", with([&](auto& p) { p.block = w; }),
                  [=](Tokens q, Tokens k, Tokens) { return q / w == k / w; }});
  list.push_back({"segments with memory", with([&](auto& p) { p.block = w, p.memory = 2 * w + 1; }),
                  [=](Tokens q, Tokens k, Tokens) {
                    return k >= q / w * w - (2 * w + 1) && k < (q / w + 1) * w + 2 * w + 1;
                  }});
  list.push_back({"window that grows with the context",
                  with([&](auto& p) { p.window = w, p.window_growth = 0.25, p.globals = 4; }),
                  [=](Tokens q, Tokens k, Tokens n) {
                    return k < 4 || q < 4 ||
                           apart(q, k) < w + static_cast<Tokens>(0.25 * static_cast<double>(n));
                  }});
  return list;
}

const std::vector<PrefillChunk> kChunks{
    {1, 0},   {1, 1},   {2, 0},   {17, 0},  {64, 0}, {65, 0},   {128, 0}, {1, 63},    {1, 64}, {1, 300},
    {16, 48}, {16, 49}, {100, 7}, {33, 64}, {7, 2},  {300, 10}, {512, 0}, {212, 300}, {5, 507}};
const std::vector<Tokens> kSizes{1, 2, 7, 16, 64, 100, 511, 512, 513, 1000};

}  // namespace

TEST_CASE("do pairs and distinct keys of patterns by position equal their masks counted entry by entry?") {
  for (const Tokens w : kSizes) {
    for (Case& c : cases(w)) {
      for (const bool causal : {true, false}) {
        c.pattern.causal = causal;
        c.pattern.check("test");
        for (const PrefillChunk& chunk : kChunks) {
          const Counted expected = count(c.mask, causal, chunk);
          INFO(c.name << " size " << w << (causal ? " causal" : " both ways") << " new " << chunk.new_tokens
                      << " past " << chunk.past);
          CHECK(c.pattern.pairs(chunk) == expected.pairs);
          // A few queries into strided keys are bounded, not counted.
          const bool strided = c.pattern.stride > 0 && chunk.new_tokens < c.pattern.stride;
          const bool sparse = c.pattern.dilation > chunk.new_tokens && !causal;
          if (strided || sparse) {
            CHECK(c.pattern.keys(chunk) >= expected.keys);
            CHECK(c.pattern.keys(chunk) <= chunk.past + chunk.new_tokens);
          } else {
            CHECK(c.pattern.keys(chunk) == expected.keys);
          }
        }
      }
    }
  }
}

namespace {

/// Keys the newest of n causal queries sees, and those of the n that it or any later one does.
struct Decoded {
  double read = 0, kept = 0;
};

Decoded count_decode(const Mask& mask, Tokens n) {
  Decoded counted;
  for (Tokens k = 0; k < n; ++k) {
    counted.read += mask(n - 1, k, n) ? 1 : 0;
    bool needed = false;
    for (Tokens q = n - 1; q < n + 1100 && !needed; ++q) needed = mask(q, k, q + 1);
    counted.kept += needed ? 1 : 0;
  }
  return counted;
}

}  // namespace

TEST_CASE("do decode and resident terms equal the newest query's mask and the keys still needed?") {
  for (const Tokens w : {1, 2, 7, 16, 64, 200, 1000}) {
    for (const Case& c : cases(w)) {
      const AttentionPattern& p = c.pattern;
      for (const Tokens n : {1, 2, 7, 16, 17, 63, 64, 65, 128, 130, 255}) {
        INFO(c.name << " size " << w << " at " << n);
        const Decoded expected = count_decode(c.mask, n);
        const double read = value_of(p.decode_terms(), n), kept = value_of(p.resident_terms(), n);
        const bool rounded = p.stride > 1 || p.dilation > 1 || p.window_growth > 0;
        const bool front_in_block = p.block > 0 && p.globals > 0 && (n - 1) / w * w < p.globals;
        if (p.memory > 0) {  // a segment's cache: its memory and room for the segment
          CHECK(read >= expected.read);
          CHECK(read < expected.read + static_cast<double>(w + p.globals));
          CHECK(kept >= expected.kept);
        } else if (front_in_block) {
          CHECK(read <= expected.read + static_cast<double>(p.globals));
        } else {
          CHECK(read == Approx(expected.read).margin(rounded ? 2.0 : 1e-9));
          CHECK(kept == Approx(expected.kept).margin(p.window_growth > 0 ? 2.0 : 1e-9));
        }
      }
    }
  }
}

TEST_CASE("do the columns of earlier blocks add what Sparse Transformer's fixed mask has?") {
  for (const Tokens l : {4, 16, 128}) {
    for (const Tokens c : {Tokens{1}, Tokens{2}, l}) {
      const auto p = with([&](auto& x) { x.block = l, x.columns = c; });
      p.check("test");
      const Mask mask = [=](Tokens q, Tokens k, Tokens) { return q / l == k / l || k % l >= l - c; };
      for (const PrefillChunk& chunk : kChunks) {
        const Counted expected = count(mask, true, chunk);
        INFO("block " << l << " columns " << c << " new " << chunk.new_tokens << " past " << chunk.past);
        CHECK(p.pairs(chunk) == expected.pairs);
        CHECK(p.keys(chunk) == expected.keys);
        const Tokens n = chunk.past + chunk.new_tokens;
        CHECK(value_of(p.decode_terms(), n) == Approx(count(mask, true, {1, n - 1}).pairs));
        CHECK(value_of(p.resident_terms(), n) == Approx(count_decode(mask, n).kept));
      }
    }
  }
}

TEST_CASE("do random links take so many of the unseen keys and no more?") {
  for (const Tokens r : {1, 3, 50}) {
    for (const bool causal : {true, false}) {
      for (const Tokens w : {3, 40}) {
        for (const bool blocks : {false, true}) {
          const auto p = with([&](auto& x) {
            x.causal = causal, x.random = r, x.globals = 4;
            if (blocks) x.block = w, x.memory = w;
            if (!blocks) x.window = w;
          });
          p.check("test");
          for (const PrefillChunk& chunk : kChunks) {
            const Tokens n = chunk.past + chunk.new_tokens;
            double expected = 0;
            for (Tokens q = chunk.past; q < n; ++q) {
              Tokens seen = 0;
              const Tokens visible = causal ? q + 1 : n;
              for (Tokens k = 0; k < visible; ++k) {
                const bool near = blocks ? std::abs(q / w - k / w) <= 1 : std::abs(q - k) < w;
                seen += k < 4 || q < 4 || near ? 1 : 0;
              }
              expected += static_cast<double>(std::min(visible, seen + r));
            }
            INFO("random " << r << " window " << w << " blocks " << blocks << " causal " << causal << " new "
                           << chunk.new_tokens << " past " << chunk.past);
            CHECK(p.pairs(chunk) == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("does LongNet's mixture of dilated segments have the pairs of its masks, head by head?") {
  const Tokens segment = 16;
  const std::int64_t levels = 4;
  for (const bool causal : {true, false}) {
    const auto p = with([&](auto& x) { x.causal = causal, x.block = segment, x.levels = levels; });
    p.check("test");
    for (const PrefillChunk& chunk : kChunks) {
      const Tokens n = chunk.past + chunk.new_tokens;
      double expected = 0;
      for (std::int64_t level = 0; level < levels; ++level) {
        const Tokens rate = Tokens{1} << level, size = segment * rate;
        for (Tokens head = 0; head < rate; ++head) {  // each with an offset of its own
          const Mask mask = [=](Tokens q, Tokens k, Tokens) {
            return q / size == k / size && q % rate == head && k % rate == head;
          };
          expected += count(mask, causal, chunk).pairs / static_cast<double>(rate);
        }
      }
      INFO("causal " << causal << " new " << chunk.new_tokens << " past " << chunk.past);
      CHECK(p.pairs(chunk) == Approx(expected).epsilon(1e-12));
      CHECK(n >= p.keys(chunk));
    }
  }
}

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

TEST_CASE("are terms positive, one per cap, and no more caps than a model may have?") {
  for (const Tokens w : {1, 16, 64}) {
    for (const Case& c : cases(w)) {
      for (const auto& terms : {c.pattern.decode_terms(), c.pattern.resident_terms()}) {
        INFO(c.name << " size " << w);
        std::set<KeyCap> caps;
        for (const KeyTerm& term : terms) {
          CHECK(term.share > 0);
          CHECK(caps.insert(term.cap).second);
        }
        CHECK(caps.size() <= 3);
      }
    }
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
