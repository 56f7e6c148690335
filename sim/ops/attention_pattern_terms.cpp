#include <algorithm>

#include "ops/attention_pattern.hpp"

namespace orrery {

std::vector<KeyTerm> sum_terms(std::vector<KeyTerm> terms) {
  std::sort(terms.begin(), terms.end(), [](const KeyTerm& a, const KeyTerm& b) { return a.cap < b.cap; });
  std::vector<KeyTerm> sums;
  for (const KeyTerm& term : terms) {
    if (!sums.empty() && sums.back().cap == term.cap) {
      sums.back().share += term.share;
    } else {
      sums.push_back(term);
    }
  }
  std::erase_if(sums, [](const KeyTerm& term) { return std::abs(term.share) < 1e-12; });
  return sums;
}

double value_of(const std::vector<KeyTerm>& terms, Tokens n) {
  double sum = 0;
  for (const KeyTerm& term : terms) sum += term.share * static_cast<double>(term.cap.of(n));
  return sum;
}

namespace {

using Terms = std::vector<KeyTerm>;
const KeyCap kWhole{};

/// A cap of no tokens is no addend (0 means all).
void add(Terms& terms, double share, Tokens cap) {
  if (cap > 0) terms.push_back({share, KeyCap(cap)});
}

/// min(n, most + fraction n) = fraction n + (1 - fraction) min(n, most / (1 - fraction)).
Terms at_most(Tokens most, double fraction) {
  if (fraction >= 1) return {{1, kWhole}};
  Terms terms;
  add(terms, 1 - fraction, static_cast<Tokens>(static_cast<double>(most) / (1 - fraction)));
  if (fraction > 0) terms.push_back({fraction, kWhole});
  return terms;
}

/// The surroundings: blocks with what goes with them.
Terms block_terms(const AttentionPattern& p) {
  Terms terms;
  Tokens size = p.block, dilation = p.dilation;
  for (std::int64_t level = 0; level < p.levels; ++level) {
    // Of a dilated segment a head reads every dilation-th key, and only every dilation-th head (of those that
    // differ in their offset) has this query among its own.
    const auto apart = static_cast<double>(dilation);
    terms.push_back({1 / (apart * apart), KeyCap(size, true)});
    size *= p.level_growth, dilation *= p.level_growth;
  }
  if (p.memory > 0) terms = {{1, KeyCap(p.memory + p.block)}};
  if (p.columns > 0) {  // columns floor((n - 1) / block), which is columns (n - wrapped) / block
    const double each = static_cast<double>(p.columns) / static_cast<double>(p.block);
    terms.push_back({each, kWhole});
    terms.push_back({-each, KeyCap(p.block, true)});
  }
  add(terms, 1, p.globals + p.random);
  return terms;
}

/// A window, strides or nothing, beside globals.
Terms window_terms(const AttentionPattern& p) {
  const double beside = 1.0 / static_cast<double>(p.dilation);
  if (p.local && p.window == 0 && p.window_growth == 0) return {{1, kWhole}};
  const Tokens window = p.local ? p.window : 0;
  Terms terms;
  if (p.stride > 0) {  // the window whole, of the others one every `stride`
    const double each = 1.0 / static_cast<double>(p.stride);
    add(terms, 1 - each, p.globals + window);
    terms.push_back({each, kWhole});
    return terms;
  }
  if (p.dilation == 1) return at_most(p.globals + window + p.random, p.local ? p.window_growth : 0);
  add(terms, beside, p.globals + window * p.dilation);
  add(terms, 1 - beside, p.globals);
  return terms;
}

/// floor(n / stride), or of the tokens beyond the window min(most, (n - window) / stride); where a query
/// chooses among them, min(budget, n / stride).
Terms summary_terms(const AttentionPattern& p, bool read) {
  const KeySummaries& s = *p.summaries;
  Terms terms;
  if (s.stride == 0) {
    add(terms, 1, s.count);
    return terms;
  }
  const double each = 1.0 / static_cast<double>(s.stride);
  if (read && p.select && p.select->summaries) {
    add(terms, each, p.select->budget * s.stride);
    return terms;
  }
  if (s.most == 0) return {{each, kWhole}};
  const Tokens skipped = p.window + p.globals;
  add(terms, each, skipped + s.most * s.stride);
  add(terms, -each, skipped);
  return terms;
}

Terms positions(const AttentionPattern& p) {
  return p.block > 0 ? block_terms(p) : window_terms(p);
}

void append(Terms& to, const Terms& more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

std::vector<KeyTerm> AttentionPattern::decode_terms() const {
  if (!holds(Phase::decode)) return {{1, kWhole}};
  Terms terms =
      chooses_tokens() ? at_most(globals + window + select->budget, select->fraction) : positions(*this);
  if (summaries) append(terms, summary_terms(*this, true));
  return sum_terms(std::move(terms));
}

std::vector<KeyTerm> AttentionPattern::resident_terms() const {
  if (!holds(Phase::decode)) return {{1, kWhole}};
  const bool keeps_all =
      (chooses_tokens() && !select->evicts && !select->queries) || stride > 0 || random > 0;
  Terms terms;
  if (keeps_all) {
    terms = {{1, kWhole}};
  } else if (chooses_tokens()) {
    terms = at_most(globals + window + select->budget, select->fraction);
  } else if (block > 0 && levels > 1) {  // the largest segment holds the others
    Tokens largest = block;
    for (std::int64_t level = 1; level < levels; ++level) largest *= level_growth;
    terms = {{1, KeyCap(largest, true)}};
    add(terms, 1, globals);
  } else if (block > 0 && dilation > 1) {
    terms = {{1, KeyCap(block, true)}};
  } else if (local && window > 0 && dilation > 1) {
    add(terms, 1, globals + (window - 1) * dilation + 1);
  } else {
    terms = positions(*this);
  }
  if (summaries) append(terms, summary_terms(*this, false));
  return sum_terms(std::move(terms));
}

Tokens AttentionPattern::granule() const {
  if (!holds(Phase::decode)) return 0;
  if (select) return select->evicts || select->queries ? 0 : select->block;
  if (stride > 0 || dilation > 1 || random > 0) return block > 0 && dilation == 1 ? block : 1;
  return columns;
}

bool AttentionPattern::covers(Tokens longest) const {
  if (phase == Phase::training) return true;
  if (select) {
    return !summaries && (select->fraction >= 1 || globals + window + select->budget >= longest);
  }
  if (summaries)
    return !local && window == 0 && block == 0 && summaries->stride == 0 && summaries->count >= longest;
  if (block > 0)
    return levels == 1 && dilation == 1 && (block >= longest || (memory > 0 && memory >= longest));
  if (!local) return globals >= longest || stride == 1 || random >= longest;
  if (window == 0 && window_growth == 0) return true;
  const double reach = static_cast<double>(window) + window_growth * static_cast<double>(longest);
  return stride == 1 || globals >= longest ||
         (dilation == 1 && reach + static_cast<double>(globals) >= static_cast<double>(longest));
}

}  // namespace orrery
