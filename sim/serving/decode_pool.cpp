#include "serving/decode_pool.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace orrery {

DecodePool::DecodePool(const KvGroups& groups, std::vector<KeyCap> caps) : caps_(std::move(caps)) {
  ORRERY_CHECK(caps_.size() <= kMaxWindows, "a model with more distinct caps than DecodeSet holds");
  for (const KvBlockGroup& group : groups.all()) {
    if (group.state) continue;  // taken once, when a sequence is admitted
    blocks_.emplace_back(group);
    drops_ |= blocks_.back().drops() || blocks_.size() > 1;
    period_ = std::lcm(period_, std::int64_t{group.block_size});
  }
}

/// The step at which a sequence that reads `context` tokens in the next one grows to its cap, or reads one
/// again.
std::int64_t DecodePool::crossing(const KeyCap& cap, Tokens context) const {
  return step_ + cap.tokens - (cap.wraps ? cap.of(context) - 1 : context);
}

void DecodePool::join(SeqIndex seq, std::uint32_t generation, Tokens stored, Tokens remaining) {
  const Tokens context = stored + 1;
  ++set_.seqs;
  set_.context += context;
  finish_.push({step_ + remaining, seq, generation});
  for (auto& blocks : blocks_) blocks.join(stored, step_);
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    set_.windowed[i] += caps_[i].of(context);
    if (!caps_[i].wraps && context >= caps_[i].tokens) continue;
    ++set_.growing[i];
    crossings_[i].add(crossing(caps_[i], context));
  }
}

void DecodePool::leave(Tokens stored, std::int64_t joined) {
  const Tokens context = stored + 1 + (step_ - joined);
  --set_.seqs;
  set_.context -= context;
  for (auto& blocks : blocks_) blocks.leave(context - 1, step_);
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    set_.windowed[i] -= caps_[i].of(context);
    if (!caps_[i].wraps && context >= caps_[i].tokens) continue;
    --set_.growing[i];
    crossings_[i].remove(crossing(caps_[i], context));
  }
}

void DecodePool::advance(std::int64_t steps) {
  step_ += steps;
  set_ = set_.advanced(steps);
  settle_caps();
}

void DecodePool::settle_caps() {
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    auto& due = crossings_[i];
    while (!due.empty() && due.first() <= step_) {
      const std::int64_t at = due.first(), count = due.first_count();
      due.pop();
      if (caps_[i].wraps) {
        set_.windowed[i] -= count * caps_[i].tokens;
        due.add(at + caps_[i].tokens, count);
      } else {
        set_.growing[i] -= count;
      }
    }
  }
  if (!drops_) return;
  for (auto& blocks : blocks_) blocks.settle(step_);
}

SeqIndex DecodePool::pop(DueHeap& heap, const std::vector<Sequence>& sequences) const {
  while (!heap.empty()) {
    const Due due = heap.top();
    const bool stale = sequences[static_cast<std::size_t>(due.seq)].generation != due.generation;
    if (!stale && due.step > step_) break;
    heap.pop();
    if (!stale) return due.seq;
  }
  return kNoSeq;
}

std::int64_t DecodePool::blocks_taken(std::int64_t steps) const {
  std::int64_t sum = 0;
  for (const auto& blocks : blocks_) sum += blocks.taken(step_, steps);
  return sum;
}

std::int64_t DecodePool::blocks_dropped(std::int64_t steps) const {
  if (!drops_) return 0;
  std::int64_t sum = 0;
  for (const auto& blocks : blocks_) sum += blocks.dropped(step_, steps);
  return sum;
}

std::int64_t DecodePool::steps_within(std::int64_t free, std::int64_t limit) const {
  if (set_.seqs == 0 || limit <= 0 || blocks_.empty()) return limit;
  if (drops_) return steps_within_walked(free, limit);
  const BlockCounts& blocks = blocks_.front();
  const std::int64_t each = set_.seqs * blocks.group().count;  // in as many steps as a block has tokens
  std::int64_t steps = free / each * blocks.group().block_size;
  if (steps >= limit) return limit;
  free -= free / each * each;
  for (; steps < limit; ++steps) {
    free -= blocks.taken_at(step_ + steps);
    if (free < 0) break;
  }
  return steps;
}

/// Walks one period, skips those that fit as it did, and walks the next one to where it fails.
std::int64_t DecodePool::steps_within_walked(std::int64_t free, std::int64_t limit) const {
  std::int64_t most = 0;  // as if nothing were given back
  for (const auto& b : blocks_) most += b.group().count * set_.seqs * (limit / b.group().block_size + 1);
  if (most <= free) return limit;

  std::int64_t used = 0, peak = 0, steps = 0;
  const auto fits = [&](std::int64_t end) {
    for (; steps < end; ++steps) {
      for (const auto& b : blocks_) used += b.taken_at(step_ + steps);
      if (used > free) return false;
      peak = std::max(peak, used);
      for (const auto& b : blocks_) used -= b.dropped_at(step_ + steps);
    }
    return true;
  };
  if (!fits(std::min(limit, period_)) || steps == limit) return steps;
  if (used == 0) return limit;  // each period gives back what it took
  const std::int64_t periods = (free - peak) / used + 1;
  if (periods >= (limit + period_ - 1) / period_) return limit;
  steps = periods * period_;
  used *= periods;
  fits(limit);
  return steps;
}

std::int64_t DecodePool::steps_to_event() const {
  std::int64_t steps = finish_.empty() ? std::int64_t{1} << 40 : finish_.top().step - step_;
  if (!drop_.empty()) steps = std::min(steps, drop_.top().step - step_);
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    if (!crossings_[i].empty()) steps = std::min(steps, crossings_[i].first() - step_);
  }
  if (!drops_) return steps;
  for (const auto& b : blocks_) {
    if (b.has_event()) steps = std::min(steps, b.step_to_event() - step_);
  }
  return steps;
}

}  // namespace orrery
