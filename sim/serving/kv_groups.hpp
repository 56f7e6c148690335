#pragma once

#include <span>
#include <vector>

#include "cost/kv_blocks.hpp"
#include "serving/config.hpp"

namespace orrery {

/// What sequences hold of a pool's blocks, by their length alone. Blocks behind a group's cap are given back
/// at the end of the step that left them behind (vLLM v1 does it before it plans the next one:
/// kv_cache_manager.py, remove_skipped_blocks), so that between steps a sequence of n tokens holds
/// taken(n) - dropped(n) blocks of each group.
class KvGroups {
 public:
  /// Errors: ConfigError for a block size below 1, or one that does not divide the cap of a group that wraps.
  explicit KvGroups(const KvConfig& config);

  std::span<const KvBlockGroup> all() const { return groups_; }
  /// One group that keeps everything: counts are those of plain paging.
  bool plain() const { return groups_.size() == 1 && groups_[0].full() && groups_[0].count == 1; }
  bool has_states() const { return states_ > 0; }
  int full() const { return full_; }      ///< groups that keep everything
  int states() const { return states_; }  ///< groups of states
  /// Blocks are as long in all groups of attention.
  bool even() const { return even_; }

  /// Blocks of a group of attention that have been taken for `tokens` tokens, those given back included.
  static std::int64_t taken(const KvBlockGroup& group, Tokens tokens) {
    return (tokens + group.block_size - 1) / group.block_size;
  }
  /// Leading blocks that no token after the first `tokens` attends to.
  static std::int64_t dropped(const KvBlockGroup& group, Tokens tokens) {
    if (group.full() || group.state) return 0;
    if (group.cap.wraps) return tokens / group.cap.tokens * (group.cap.tokens / group.block_size);
    return tokens < group.cap.tokens ? 0 : (tokens - group.cap.tokens + 1) / group.block_size;
  }
  /// The number of tokens at which block `block` (from 0) is dropped.
  static Tokens drops_at(const KvBlockGroup& group, std::int64_t block) {
    const Tokens last = (block + 1) * group.block_size;
    if (group.cap.wraps) return (last + group.cap.tokens - 1) / group.cap.tokens * group.cap.tokens;
    return last + group.cap.tokens - 1;
  }

  /// Pool blocks that `after - before` more tokens of a sequence of `before` tokens take.
  std::int64_t needed(Tokens before, Tokens after) const {
    std::int64_t sum = before == 0 && after > 0 ? states_ : 0;
    for (const KvBlockGroup& g : groups_) {
      if (!g.state) sum += g.count * (taken(g, after) - taken(g, before));
    }
    return sum;
  }
  /// Pool blocks that a sequence of `tokens` tokens holds between steps.
  std::int64_t held(Tokens tokens) const;
  /// Of them, in groups that keep everything.
  std::int64_t held_in_full(Tokens tokens) const;
  /// Pool blocks that a sequence which goes from `before` to `after` tokens leaves behind the caps.
  std::int64_t dropped(Tokens before, Tokens after) const;
  /// The most pool blocks a sequence holds on its way to `tokens` tokens, `chunk` of them new in a step.
  std::int64_t most(Tokens tokens, Tokens chunk) const { return most_blocks(groups_, tokens, chunk); }

 private:
  std::vector<KvBlockGroup> groups_;
  int full_ = 0, states_ = 0;
  bool even_ = true;
};

}  // namespace orrery
