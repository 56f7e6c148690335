#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "ops/decode_set.hpp"
#include "serving/block_counts.hpp"
#include "serving/sequence.hpp"

namespace orrery {

/// The sequences that compute one token a step, kept as aggregates so that k steps cost as much as one: size,
/// context, histograms of where each stands in its last KV block and behind its window, and the steps at
/// which they finish or come to a cap. `step()` counts the steps planned so far; a sequence's progress is
/// step() minus the step at which it joined.
class DecodePool {
 public:
  DecodePool(const KvGroups& groups, std::vector<KeyCap> caps);

  std::int64_t step() const { return step_; }
  const DecodeSet& set() const { return set_; }
  std::int64_t size() const { return set_.seqs; }

  /// Joins with `stored` tokens in the KV cache, to compute `remaining` > 0 more tokens, one a step.
  void join(SeqIndex seq, std::uint32_t generation, Tokens stored, Tokens remaining);
  /// Leaves before finishing (preempted) or because it finished; `stored` as at join(), `joined` the step
  /// then.
  void leave(Tokens stored, std::int64_t joined);
  /// Plans `steps` more steps of the whole set; the caller has kept to steps_to_event().
  void advance(std::int64_t steps);
  /// Takes the next sequence that has planned all its tokens; kNoSeq when there is none. Stale entries (of
  /// sequences that left) are skipped by comparing generations.
  SeqIndex pop_finished(const std::vector<Sequence>& sequences) { return pop(finish_, sequences); }

  /// Asks for a sequence to be handed out by pop_dropping() after `steps` more steps, no run passing by.
  void watch_drop(SeqIndex seq, std::uint32_t generation, std::int64_t steps) {
    drop_.push({step_ + steps, seq, generation});
  }
  SeqIndex pop_dropping(const std::vector<Sequence>& sequences) { return pop(drop_, sequences); }

  /// KV blocks that `steps` more steps of the set take, and those they leave behind their caps. What a step
  /// leaves behind is free when the next one is planned.
  std::int64_t blocks_taken(std::int64_t steps) const;
  std::int64_t blocks_dropped(std::int64_t steps) const;
  /// The most steps whose blocks fit in `free`, each in its turn; at most `limit`, which keeps to
  /// steps_to_event().
  std::int64_t steps_within(std::int64_t free, std::int64_t limit) const;
  /// Steps until the first sequence has planned its last token, comes to a cap, or is to be handed out.
  std::int64_t steps_to_event() const;

 private:
  struct Due {
    std::int64_t step;
    SeqIndex seq;
    std::uint32_t generation;
    bool operator>(const Due& o) const { return step != o.step ? step > o.step : seq > o.seq; }
  };
  using DueHeap = std::priority_queue<Due, std::vector<Due>, std::greater<>>;

  SeqIndex pop(DueHeap& heap, const std::vector<Sequence>& sequences) const;
  std::int64_t crossing(const KeyCap& cap, Tokens context) const;
  std::int64_t steps_within_walked(std::int64_t free, std::int64_t limit) const;
  void settle_caps();

  std::vector<KeyCap> caps_;
  std::vector<BlockCounts> blocks_;  ///< by kind of KV group
  bool drops_ = false;               ///< a group drops blocks, or blocks differ in length
  std::int64_t period_ = 1;          ///< steps after which blocks are taken and dropped as before
  std::int64_t step_ = 0;
  DecodeSet set_;
  DueHeap finish_, drop_;
  std::array<StepCounts, kMaxWindows> crossings_;  ///< when sequences come to each cap, or begin a new chunk
};

}  // namespace orrery
