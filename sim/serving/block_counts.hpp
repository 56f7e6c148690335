#pragma once

#include <cstdint>
#include <vector>

#include "serving/kv_groups.hpp"
#include "serving/step_counts.hpp"

namespace orrery {

/// The KV blocks that a set of sequences takes and gives back while each gains one token a step, in one kind
/// of group: histograms over the step modulo the block size, so that k steps cost as much as one. Steps are
/// numbered as DecodePool's clock does; a sequence is known by its tokens when it joins and the step it joins
/// at.
class BlockCounts {
 public:
  /// Blocks are taken for `ahead` tokens more than a sequence stores.
  explicit BlockCounts(const KvBlockGroup& group, Tokens ahead = 0);

  const KvBlockGroup& group() const { return group_; }
  bool drops() const { return !group_.full() && !group_.state; }

  void join(Tokens stored, std::int64_t step);
  /// `stored` is what the sequence has at `step`, the present one.
  void leave(Tokens stored, std::int64_t step);
  /// Who has come to the cap at `step` begins to drop blocks. Every step_to_event() is passed here.
  void settle(std::int64_t step);

  /// Pool blocks taken in, and given back at the end of, step `step` (0 = the first).
  std::int64_t taken_at(std::int64_t step) const { return group_.count * at(taken_, step); }
  std::int64_t dropped_at(std::int64_t step) const { return group_.count * at(dropped_, step); }
  /// The same over `steps` steps from `step` on; the caller has kept to step_to_event().
  std::int64_t taken(std::int64_t step, std::int64_t steps) const {
    if (steps == 1) return taken_at(step);
    return group_.count * sum(taken_, seqs_, step, steps);
  }
  std::int64_t dropped(std::int64_t step, std::int64_t steps) const;
  /// The step at which the next sequence comes to the cap; none while all are past it.
  bool has_event() const { return !due_.empty(); }
  std::int64_t step_to_event() const { return due_.first(); }

 private:
  using Histogram = std::vector<std::int64_t>;  ///< sequences by step modulo the block size

  std::size_t residue(std::int64_t step) const {
    const std::int64_t r = step % group_.block_size;
    return static_cast<std::size_t>(r < 0 ? r + group_.block_size : r);
  }
  std::int64_t at(const Histogram& h, std::int64_t step) const { return h.empty() ? 0 : h[residue(step)]; }
  std::int64_t sum(const Histogram& h, std::int64_t seqs, std::int64_t step, std::int64_t steps) const;
  std::int64_t crossing(Tokens stored, std::int64_t step) const;

  KvBlockGroup group_;
  Tokens ahead_;
  std::int64_t seqs_ = 0, past_ = 0;  ///< all; those past a window
  Histogram taken_, dropped_;
  StepCounts due_;
};

}  // namespace orrery
