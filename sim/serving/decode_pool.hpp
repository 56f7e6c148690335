#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "ops/decode_set.hpp"
#include "serving/sequence.hpp"

namespace orrery {

/// The sequences that compute one token a step, kept as aggregates so that k steps cost as much as one: size,
/// context, a histogram of where each stands in its last KV block, and the steps at which they finish or
/// cross a window. `step()` counts the steps planned so far; a sequence's progress is step() minus the step
/// at which it joined.
class DecodePool {
 public:
  DecodePool(int block_size, std::vector<KeyCap> caps);

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
  SeqIndex pop_finished(const std::vector<Sequence>& sequences);

  /// KV blocks that `steps` more steps of the set take.
  std::int64_t blocks_needed(std::int64_t steps) const;
  /// The most steps whose blocks fit in `free`; at most `limit`.
  std::int64_t steps_within(std::int64_t free, std::int64_t limit) const;
  /// Steps until the first sequence has planned its last token, or crosses a window.
  std::int64_t steps_to_event() const;

 private:
  struct Due {
    std::int64_t step;
    SeqIndex seq;
    std::uint32_t generation;
    bool operator>(const Due& o) const { return step != o.step ? step > o.step : seq > o.seq; }
  };
  using DueHeap = std::priority_queue<Due, std::vector<Due>, std::greater<>>;

  std::size_t residue(Tokens stored, std::int64_t joined) const;
  void settle_windows();

  int block_size_;
  std::vector<KeyCap> caps_;
  std::int64_t step_ = 0;
  DecodeSet set_;
  std::vector<std::int64_t>
      boundary_;  ///< how many sequences need a block at steps of each residue mod block size
  DueHeap finish_;
  /// Steps at which sequences cross each window, ascending; counts, so that leaving can take one away.
  std::array<std::vector<std::pair<std::int64_t, std::int64_t>>, kMaxWindows> crossings_;
};

}  // namespace orrery
