#pragma once

#include <functional>
#include <set>
#include <vector>

#include "ops/attention_pattern.hpp"

// Masks written out, to hold patterns against.
namespace masks {

using namespace orrery;

/// Whether the query at position q (from 0) sees the key at position k of n, written from the papers' masks
/// without the pattern's own arithmetic.
using Mask = std::function<bool(Tokens q, Tokens k, Tokens n)>;

struct Counted {
  double pairs = 0;
  Tokens keys = 0;
};

inline Counted count(const Mask& mask, bool causal, const PrefillChunk& chunk) {
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

inline AttentionPattern with(const std::function<void(AttentionPattern&)>& set) {
  AttentionPattern p;
  set(p);
  return p;
}

inline const std::vector<PrefillChunk> kChunks{
    {1, 0},   {1, 1},   {2, 0},   {17, 0},  {64, 0}, {65, 0},   {128, 0}, {1, 63},    {1, 64}, {1, 300},
    {16, 48}, {16, 49}, {100, 7}, {33, 64}, {7, 2},  {300, 10}, {512, 0}, {212, 300}, {5, 507}};

}  // namespace masks
