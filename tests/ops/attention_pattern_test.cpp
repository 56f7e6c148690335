#include <cmath>
#include <string>

#include <catch2/catch.hpp>

#include "ops/attention_masks.hpp"

using namespace orrery;
using namespace masks;

namespace {

struct Case {
  std::string name;
  AttentionPattern pattern;
  Mask mask;  ///< not yet causal
};

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
