#include "serving/decode_pool.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace orrery {

DecodePool::DecodePool(const KvGroups& groups, std::vector<KeyCap> caps, TokenPace pace, Tokens ahead)
    : caps_(std::move(caps)) {
  set_.pace = pace;
  ORRERY_CHECK(caps_.size() <= kMaxWindows, "a model with more distinct caps than DecodeSet holds");
  for (const KvBlockGroup& group : groups.all()) {
    if (group.state) continue;  // taken once, when a sequence is admitted
    blocks_.emplace_back(group, ahead);
    drops_ |= blocks_.back().drops() || blocks_.size() > 1;
    period_ = std::lcm(period_, std::int64_t{group.block_size});
  }
}

/// When a sequence that reads `context` tokens in the next step grows to its cap, or reads one again.
std::int64_t DecodePool::crossing(const KeyCap& cap, Tokens context) const {
  return clock_ + cap.tokens - (cap.wraps ? cap.of(context) - 1 : context);
}

void DecodePool::join(SeqIndex seq, std::uint32_t generation, Tokens stored, Tokens remaining) {
  const Tokens context = stored + 1;
  ++set_.seqs;
  set_.context += context;
  finish_.push({clock_ + remaining, seq, generation});
  for (auto& blocks : blocks_) blocks.join(stored, clock_);
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    set_.windowed[i] += caps_[i].of(context);
    if (!caps_[i].wraps && context >= caps_[i].tokens) continue;
    ++set_.growing[i];
    crossings_[i].add(crossing(caps_[i], context));
  }
}

void DecodePool::leave(Tokens stored, Tokens joined) {
  const Tokens context = stored + 1 + (clock_ - joined);
  --set_.seqs;
  set_.context -= context;
  for (auto& blocks : blocks_) blocks.leave(context - 1, clock_);
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    set_.windowed[i] -= caps_[i].of(context);
    if (!caps_[i].wraps && context >= caps_[i].tokens) continue;
    --set_.growing[i];
    crossings_[i].remove(crossing(caps_[i], context));
  }
}

void DecodePool::advance(std::int64_t steps) {
  const Tokens tokens = set_.pace.after(steps);
  set_.pace = set_.pace.advanced(steps);
  gain(tokens);
}

/// In pieces that end where a sequence comes to a cap.
std::int64_t DecodePool::advance_step() {
  Tokens left = set_.pace.after(1);
  set_.pace = set_.pace.advanced(1);
  std::int64_t dropped = 0;
  while (left > 0) {
    const Tokens piece = std::min(left, tokens_to_cap());
    dropped += dropped_by(piece);
    gain(piece);
    left -= piece;
  }
  return dropped;
}

void DecodePool::gain(Tokens tokens) {
  clock_ += tokens;
  set_.context += tokens * set_.seqs;
  for (std::size_t i = 0; i < caps_.size(); ++i) set_.windowed[i] += tokens * set_.growing[i];
  settle_caps();
}

void DecodePool::settle_caps() {
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    auto& due = crossings_[i];
    while (!due.empty() && due.first() <= clock_) {
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
  for (auto& blocks : blocks_) blocks.settle(clock_);
}

SeqIndex DecodePool::pop(DueHeap& heap, const std::vector<Sequence>& sequences) const {
  while (!heap.empty()) {
    const Due due = heap.top();
    const bool stale = sequences[static_cast<std::size_t>(due.seq)].generation != due.generation;
    if (!stale && due.at > clock_) break;
    heap.pop();
    if (!stale) return due.seq;
  }
  return kNoSeq;
}

std::int64_t DecodePool::blocks_taken(std::int64_t steps) const {
  std::int64_t sum = 0;
  for (const auto& blocks : blocks_) sum += blocks.taken(clock_, set_.pace.after(steps));
  return sum;
}

std::int64_t DecodePool::blocks_dropped(std::int64_t steps) const {
  return dropped_by(set_.pace.after(steps));
}

std::int64_t DecodePool::dropped_by(Tokens tokens) const {
  if (!drops_) return 0;
  std::int64_t sum = 0;
  for (const auto& blocks : blocks_) sum += blocks.dropped(clock_, tokens);
  return sum;
}

std::int64_t DecodePool::steps_within(std::int64_t free, std::int64_t limit) const {
  if (set_.seqs == 0 || limit <= 0 || blocks_.empty()) return limit;
  const bool one_each = set_.pace.tokens == set_.pace.steps;
  if (drops_ && !one_each) return steps_within_walked(free, limit);
  const Tokens tokens = set_.pace.after(limit);
  const Tokens fit = drops_ ? tokens_within_walked(free, tokens) : tokens_within(free, tokens);
  return std::min(limit, set_.pace.steps_within(fit));
}

/// What a step leaves behind is not free before its last token is in.
std::int64_t DecodePool::steps_within_walked(std::int64_t free, std::int64_t limit) const {
  TokenPace pace = set_.pace;
  Tokens at = clock_;
  for (std::int64_t steps = 0; steps < limit; ++steps) {
    const Tokens tokens = pace.after(1);
    pace = pace.advanced(1);
    for (const auto& b : blocks_) free -= b.taken(at, tokens);
    if (free < 0) return steps;
    for (const auto& b : blocks_) {
      for (Tokens t = 0; t < tokens; ++t) free += b.dropped_at(at + t);
    }
    at += tokens;
  }
  return limit;
}

/// A period never gives back more than it takes, so that one is enough to walk.
std::int64_t DecodePool::steps_below(std::int64_t enough, std::int64_t free, std::int64_t limit) const {
  if (!drops_) return limit;
  const bool one_each = set_.pace.tokens == set_.pace.steps;
  TokenPace pace = set_.pace;
  Tokens at = clock_;
  for (std::int64_t steps = 0; steps < (one_each ? std::min(limit, period_) : limit); ++steps) {
    if (free >= enough) return steps;
    for (Tokens left = pace.after(1); left > 0; --left, ++at) {
      for (const auto& b : blocks_) free += b.dropped_at(at) - b.taken_at(at);
    }
    pace = pace.advanced(1);
  }
  return limit;
}

Tokens DecodePool::tokens_within(std::int64_t free, Tokens limit) const {
  const BlockCounts& blocks = blocks_.front();
  const std::int64_t each = set_.seqs * blocks.group().count;  // in as many tokens as a block holds
  Tokens tokens = free / each * blocks.group().block_size;
  if (tokens >= limit) return limit;
  free -= free / each * each;
  for (; tokens < limit; ++tokens) {
    free -= blocks.taken_at(clock_ + tokens);
    if (free < 0) break;
  }
  return tokens;
}

/// Walks one period, skips those that fit as it did, and walks the next one to where it fails.
Tokens DecodePool::tokens_within_walked(std::int64_t free, Tokens limit) const {
  std::int64_t most = 0;  // as if nothing were given back
  for (const auto& b : blocks_) most += b.group().count * set_.seqs * (limit / b.group().block_size + 1);
  if (most <= free) return limit;

  std::int64_t used = 0, peak = 0, steps = 0;
  const auto fits = [&](std::int64_t end) {
    for (; steps < end; ++steps) {
      for (const auto& b : blocks_) used += b.taken_at(clock_ + steps);
      if (used > free) return false;
      peak = std::max(peak, used);
      for (const auto& b : blocks_) used -= b.dropped_at(clock_ + steps);
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
  if (set_.pace.tokens == 0) return 0;  // what a step brings is drawn
  Tokens tokens = tokens_to_cap();
  if (!finish_.empty()) tokens = std::min(tokens, finish_.top().at - clock_);
  if (!drop_.empty()) tokens = std::min(tokens, drop_.top().at - clock_);
  return set_.pace.steps_to(tokens);
}

Tokens DecodePool::tokens_to_cap() const {
  Tokens tokens = Tokens{1} << 40;
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    if (!crossings_[i].empty()) tokens = std::min(tokens, crossings_[i].first() - clock_);
  }
  if (!drops_) return tokens;
  for (const auto& b : blocks_) {
    if (b.has_event()) tokens = std::min(tokens, b.step_to_event() - clock_);
  }
  return tokens;
}

}  // namespace orrery
