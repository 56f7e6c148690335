#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/attention_pattern.hpp"

namespace orrery {

std::span<const std::string_view> enum_names(Phase) {
  static constexpr std::array<std::string_view, 4> names{"always", "prefill", "decode", "training"};
  return names;
}

std::span<const std::string_view> enum_names(SummaryForm) {
  static constexpr std::array<std::string_view, 3> names{"weighted", "mapped", "gated"};
  return names;
}

std::span<const std::string_view> enum_names(KeyIndex) {
  static constexpr std::array<std::string_view, 7> names{"none", "blocks",    "indexer", "scores",
                                                         "hash", "centroids", "router"};
  return names;
}

namespace {

std::string tokens(Tokens n) {
  return n == 1 ? "1 token" : fmt::format("{} tokens", n);
}

std::string surroundings(const AttentionPattern& p) {
  if (!p.local) return {};
  if (p.block > 0) {
    std::string text = p.levels > 1     ? fmt::format("{} sizes of blocks from {}", p.levels, tokens(p.block))
                       : p.dilation > 1 ? fmt::format("every {}th token of blocks of {}", p.dilation, p.block)
                                        : fmt::format("chunks of {}", tokens(p.block));
    if (p.memory > 0) text += fmt::format(" and {} beside", tokens(p.memory));
    return text;
  }
  if (p.window == 0 && p.window_growth == 0) return p.select ? std::string{} : std::string{"full"};
  std::string text = fmt::format("window of {}", tokens(p.window));
  if (p.window_growth > 0) text += fmt::format(" and {:g} % of the context", 100 * p.window_growth);
  if (p.dilation > 1) text += fmt::format(", {} apart", p.dilation);
  return text;
}

std::string chosen(const KeySelection& s) {
  std::string what = s.budget > 0 ? tokens(s.budget) : std::string{};
  if (s.fraction > 0) what += fmt::format("{}{:g} %", what.empty() ? "" : " and ", 100 * s.fraction);
  const auto how = enum_names(s.index)[static_cast<std::size_t>(s.index)];
  if (s.summaries) what = fmt::format("{} of them", s.budget);
  return fmt::format("{} {}{}", what, s.evicts ? "kept" : "chosen",
                     s.index == KeyIndex::none ? std::string{} : fmt::format(" by {}", how));
}

}  // namespace

std::string AttentionPattern::describe() const {
  std::vector<std::string> parts;
  if (auto text = surroundings(*this); !text.empty()) parts.push_back(std::move(text));
  if (globals > 0) parts.push_back(fmt::format("the first {}", tokens(globals)));
  if (stride > 0) parts.push_back(fmt::format("one key in {}", stride));
  if (columns > 0) parts.push_back(fmt::format("the last {} of each chunk", columns));
  if (random > 0) parts.push_back(fmt::format("{} random", random));
  if (summaries) {
    parts.push_back(summaries->stride > 0 ? fmt::format("a summary per {}", tokens(summaries->stride))
                                          : fmt::format("{} summaries", summaries->count));
  }
  if (select) parts.push_back(chosen(*select));
  std::string text = fmt::format("{}", fmt::join(parts, " + "));
  if (!causal) text += ", both ways";
  if (phase != Phase::always) {
    text += fmt::format(" ({} only)", enum_names(phase)[static_cast<std::size_t>(phase)]);
  }
  return text;
}

namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& why, const std::string& hint) {
  throw ConfigError(fmt::format("{}: {}", where, why), hint);
}

void at_least(const std::string& where, const char* field, Tokens value, Tokens least) {
  if (value < least) refuse(where, fmt::format("{} is {}", field, value), fmt::format("{} or more", least));
}

void share(const std::string& where, const char* field, double value) {
  if (!(value >= 0 && value <= 1)) {
    refuse(where, fmt::format("{} is {:g}", field, value), "a share between 0 and 1");
  }
}

/// Fields that exclude each other, with the reason.
void exclude(const std::string& where, const char* a, bool has_a, const char* b, bool has_b) {
  if (has_a && has_b) refuse(where, fmt::format("{} and {} are both set", a, b), "one of the two");
}

void check_select(const KeySelection& s, const std::string& where) {
  at_least(where, "select.budget", s.budget, 0);
  share(where, "select.fraction", s.fraction);
  if (s.budget == 0 && s.fraction == 0) {
    refuse(where, "select chooses no keys", "a budget of tokens or a fraction of the context");
  }
  at_least(where, "select.block", s.block, 1);
  at_least(where, "select.query_block", s.query_block, 1);
  at_least(where, "select.probe_queries", s.probe_queries, 0);
  at_least(where, "select.vectors", s.vectors, 1);
  at_least(where, "select.hashes", s.hashes, 1);
  at_least(where, "select.buckets", s.buckets, s.index == KeyIndex::centroids ? 1 : 0);
  at_least(where, "select.index_heads", s.index_heads, s.index == KeyIndex::indexer ? 1 : 0);
  at_least(where, "select.index_dim", s.index_dim, s.index == KeyIndex::indexer ? 1 : 0);
}

}  // namespace

void AttentionPattern::check(const std::string& where) const {
  for (const auto& [field, value] : {std::pair{"window", window},
                                     {"block", block},
                                     {"memory", memory},
                                     {"globals", globals},
                                     {"stride", stride},
                                     {"columns", columns},
                                     {"random", random}}) {
    at_least(where, field, value, 0);
  }
  at_least(where, "dilation", dilation, 1);
  at_least(where, "levels", levels, 1);
  at_least(where, "level_growth", level_growth, 2);
  share(where, "window_growth", window_growth);
  const bool windowed = window > 0 || window_growth > 0, spread = dilation > 1 || levels > 1;
  exclude(where, "window", windowed, "block", block > 0);
  exclude(where, "stride", stride > 0, "dilation", spread);
  exclude(where, "stride", stride > 0, "block", block > 0);
  exclude(where, "random", random > 0, "stride", stride > 0);
  exclude(where, "random", random > 0, "dilation", spread);
  exclude(where, "window_growth", window_growth > 0, "dilation", spread);
  exclude(where, "window_growth", window_growth > 0, "stride", stride > 0);
  for (const auto& [field, value] : {std::pair{"memory", memory}, {"globals", globals}, {"random", random}}) {
    exclude(where, field, value > 0, "columns", columns > 0);
    exclude(where, field, value > 0, "dilation of blocks", block > 0 && spread);
  }
  if (block == 0 && (memory > 0 || columns > 0 || levels > 1)) {
    refuse(where, "memory, columns or levels without a block", "the block's size in tokens");
  }
  if (dilation > 1 && block == 0 && !windowed) refuse(where, "dilation without a window", "its size in keys");
  if (dilation > 1 && block > 0 && block % dilation != 0) {
    refuse(where, fmt::format("block {} is not a multiple of dilation {}", block, dilation), "");
  }
  if (columns > block) refuse(where, fmt::format("columns is {}", columns), "at most the block's size");
  if (columns > 0 && !causal) refuse(where, "columns without causal", "a causal pattern");
  if (!local && (windowed || block > 0)) refuse(where, "a window or block without local", "local: true");
  if (select) {
    check_select(*select, where);
    exclude(where, "select", true, "block, stride, random or dilation",
            block > 0 || stride > 0 || random > 0 || spread || window_growth > 0);
  }
  if (select && select->summaries) {
    const bool apart = summaries && summaries->stride > 0 && summaries->most == 0;
    if (!apart || select->budget == 0 || select->evicts || select->queries) {
      refuse(where, "select.summaries without summaries to choose from",
             "a budget, and summaries with a stride and no limit");
    }
  }
  if (summaries) {
    at_least(where, "summaries.stride", summaries->stride, 0);
    at_least(where, "summaries.length", summaries->length, 0);
    at_least(where, "summaries.most", summaries->most, 0);
    at_least(where, "summaries.count", summaries->count, summaries->stride > 0 ? 0 : 1);
  }
}

}  // namespace orrery
