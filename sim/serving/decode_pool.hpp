#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "ops/decode_set.hpp"
#include "serving/block_counts.hpp"
#include "serving/sequence.hpp"

namespace orrery {

/// The decoding sequences, kept as aggregates so that k steps cost as much as one: size, context, histograms
/// of where each stands in its last KV block and behind its window, and the times at which they finish or
/// come to a cap. All gain tokens at one pace, which is the pool's and not theirs: one a step without
/// speculation. So time is counted in tokens: `clock()` is how many tokens the steps planned so far have
/// brought, a sequence's progress is clock() minus what it was when the sequence joined, and who joins gains
/// the lower or the upper whole number of the pace according to where the pace stands.
class DecodePool {
 public:
  /// Blocks are taken for `ahead` tokens more than a sequence stores.
  DecodePool(const KvGroups& groups, std::vector<KeyCap> caps, TokenPace pace = {}, Tokens ahead = 0);

  Tokens clock() const { return clock_; }
  const DecodeSet& set() const { return set_; }
  std::int64_t size() const { return set_.seqs; }

  /// Joins with `stored` tokens in the KV cache, to compute `remaining` > 0 more tokens.
  void join(SeqIndex seq, std::uint32_t generation, Tokens stored, Tokens remaining);
  /// Leaves before finishing (preempted) or because it finished; `stored` as at join(), `joined` the clock
  /// then.
  void leave(Tokens stored, Tokens joined);
  /// Plans `steps` more steps of the whole set, fewer than steps_to_event() or none that passes an event.
  void advance(std::int64_t steps);
  /// Plans one more step, whose tokens may pass events. Returns the blocks it leaves behind caps.
  std::int64_t advance_step();
  /// Takes the next sequence that has planned all its tokens; kNoSeq when there is none. Stale entries (of
  /// sequences that left) are skipped by comparing generations.
  SeqIndex pop_finished(const std::vector<Sequence>& sequences) { return pop(finish_, sequences); }

  /// Asks for a sequence to be handed out by pop_dropping() after `tokens` more tokens, no run passing by.
  void watch_drop(SeqIndex seq, std::uint32_t generation, Tokens tokens) {
    drop_.push({clock_ + tokens, seq, generation});
  }
  SeqIndex pop_dropping(const std::vector<Sequence>& sequences) {
    return drop_.empty() ? kNoSeq : pop(drop_, sequences);
  }

  /// KV blocks that `steps` more steps of the set take, and those they leave behind their caps. What a step
  /// leaves behind is free when the next one is planned.
  std::int64_t blocks_taken(std::int64_t steps) const;
  std::int64_t blocks_dropped(std::int64_t steps) const;
  /// The most steps whose blocks fit in `free`, each in its turn; at most `limit`, which keeps to
  /// steps_to_event().
  std::int64_t steps_within(std::int64_t free, std::int64_t limit) const;
  /// The most steps, at most `limit`, of which each begins with fewer than `enough` blocks free, `free` being
  /// so now. All, where nothing is given back meanwhile.
  std::int64_t steps_below(std::int64_t enough, std::int64_t free, std::int64_t limit) const;
  /// Steps until the first sequence has planned its last token, comes to a cap, or is to be handed out.
  std::int64_t steps_to_event() const;

 private:
  struct Due {
    Tokens at;  ///< on the clock
    SeqIndex seq;
    std::uint32_t generation;
    bool operator>(const Due& o) const { return at != o.at ? at > o.at : seq > o.seq; }
  };
  using DueHeap = std::priority_queue<Due, std::vector<Due>, std::greater<>>;

  SeqIndex pop(DueHeap& heap, const std::vector<Sequence>& sequences) const;
  std::int64_t crossing(const KeyCap& cap, Tokens context) const;
  Tokens tokens_to_cap() const;
  std::int64_t dropped_by(Tokens tokens) const;
  void gain(Tokens tokens);
  Tokens tokens_within(std::int64_t free, Tokens limit) const;
  Tokens tokens_within_walked(std::int64_t free, Tokens limit) const;
  std::int64_t steps_within_walked(std::int64_t free, std::int64_t limit) const;
  void settle_caps();

  std::vector<KeyCap> caps_;
  std::vector<BlockCounts> blocks_;  ///< by kind of KV group
  bool drops_ = false;               ///< a group drops blocks, or blocks differ in length
  Tokens period_ = 1;                ///< tokens after which blocks are taken and dropped as before
  Tokens clock_ = 0;
  DecodeSet set_;
  DueHeap finish_, drop_;
  std::array<StepCounts, kMaxWindows> crossings_;  ///< when sequences come to each cap, or begin a new chunk
};

}  // namespace orrery
