#include "serving/block_counts.hpp"

namespace orrery {

BlockCounts::BlockCounts(const KvBlockGroup& group, Tokens ahead) : group_(group), ahead_(ahead) {
  if (group.state) return;
  taken_.resize(static_cast<std::size_t>(group.block_size));
  if (drops() && !group.cap.wraps) dropped_.resize(taken_.size());
}

/// The step at which the sequence has as many tokens as leave nothing of the window behind them but the next
/// one, or as fill its chunk.
std::int64_t BlockCounts::crossing(Tokens stored, std::int64_t step) const {
  const Tokens cap = group_.cap.tokens;
  return step + (group_.cap.wraps ? cap - stored % cap : cap - 1 - stored);
}

void BlockCounts::join(Tokens stored, std::int64_t step) {
  if (group_.state) return;
  ++seqs_;
  ++taken_[residue(step - stored - ahead_)];
  if (!drops()) return;
  const std::int64_t at = crossing(stored, step);
  if (at > step) {
    due_.add(at);
  } else {
    ++past_;
    ++dropped_[residue(at - 1)];
  }
}

void BlockCounts::leave(Tokens stored, std::int64_t step) {
  if (group_.state) return;
  --seqs_;
  --taken_[residue(step - stored - ahead_)];
  if (!drops()) return;
  const std::int64_t at = crossing(stored, step);
  if (at > step) {
    due_.remove(at);
  } else {
    --past_;
    --dropped_[residue(at - 1)];
  }
}

void BlockCounts::settle(std::int64_t step) {
  while (!due_.empty() && due_.first() <= step) {
    const std::int64_t at = due_.first(), count = due_.first_count();
    due_.pop();
    if (group_.cap.wraps) {
      due_.add(at + group_.cap.tokens, count);
    } else {
      past_ += count;
      dropped_[residue(at - 1)] += count;
    }
  }
}

std::int64_t BlockCounts::sum(const Histogram& h, std::int64_t seqs, std::int64_t step,
                              std::int64_t steps) const {
  if (h.empty()) return 0;
  std::int64_t blocks = steps / group_.block_size * seqs;
  for (std::int64_t i = 0; i < steps % group_.block_size; ++i) blocks += h[residue(step + i)];
  return blocks;
}

std::int64_t BlockCounts::dropped(std::int64_t step, std::int64_t steps) const {
  if (!group_.cap.wraps) return group_.count * sum(dropped_, past_, step, steps);
  if (due_.empty() || due_.first() != step + steps) return 0;
  return group_.count * due_.first_count() * (group_.cap.tokens / group_.block_size);
}

}  // namespace orrery
