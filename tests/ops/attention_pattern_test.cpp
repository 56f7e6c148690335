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
