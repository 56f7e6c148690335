#include "serving/decode_pool.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery {

DecodePool::DecodePool(int block_size, std::vector<KeyCap> caps)
    : block_size_(block_size), caps_(std::move(caps)), boundary_(static_cast<std::size_t>(block_size)) {
  ORRERY_CHECK(caps_.size() <= kMaxWindows, "a model with more distinct caps than DecodeSet holds");
  for (const KeyCap& cap : caps_) ORRERY_CHECK(!cap.wraps, "caps that wrap are not followed yet");
}

/// A sequence with `stored` tokens at step `joined` needs a new block at each step s with stored + s - joined
/// = 0 mod block size; that s, mod block size.
std::size_t DecodePool::residue(Tokens stored, std::int64_t joined) const {
  const std::int64_t r = (joined - stored) % block_size_;
  return static_cast<std::size_t>(r < 0 ? r + block_size_ : r);
}

void DecodePool::join(SeqIndex seq, std::uint32_t generation, Tokens stored, Tokens remaining) {
  ++set_.seqs;
  set_.context += stored + 1;
  ++boundary_[residue(stored, step_)];
  finish_.push({step_ + remaining, seq, generation});
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    const Tokens context = stored + 1;
    set_.windowed[i] += caps_[i].of(context);
    if (context >= caps_[i].tokens) continue;
    ++set_.growing[i];
    auto& due = crossings_[i];
    const std::int64_t at = step_ + caps_[i].tokens - context;
    const auto place = std::lower_bound(due.begin(), due.end(), std::pair{at, std::int64_t{0}});
    if (place != due.end() && place->first == at) {
      ++place->second;
    } else {
      due.insert(place, {at, 1});
    }
  }
}

void DecodePool::leave(Tokens stored, std::int64_t joined) {
  const Tokens context = stored + 1 + (step_ - joined);
  --set_.seqs;
  set_.context -= context;
  --boundary_[residue(stored, joined)];
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    set_.windowed[i] -= caps_[i].of(context);
    if (context >= caps_[i].tokens) continue;
    --set_.growing[i];
    auto& due = crossings_[i];
    const auto place = std::lower_bound(due.begin(), due.end(),
                                        std::pair{step_ + caps_[i].tokens - context, std::int64_t{0}});
    if (--place->second == 0) due.erase(place);
  }
}

void DecodePool::advance(std::int64_t steps) {
  step_ += steps;
  set_ = set_.advanced(steps);
  settle_windows();
}

void DecodePool::settle_windows() {
  for (std::size_t i = 0; i < caps_.size(); ++i) {
    auto& due = crossings_[i];
    std::size_t past = 0;
    for (; past < due.size() && due[past].first <= step_; ++past) set_.growing[i] -= due[past].second;
    due.erase(due.begin(), due.begin() + static_cast<std::ptrdiff_t>(past));
  }
}

SeqIndex DecodePool::pop_finished(const std::vector<Sequence>& sequences) {
  while (!finish_.empty()) {
    const Due due = finish_.top();
    const bool stale = sequences[static_cast<std::size_t>(due.seq)].generation != due.generation;
    if (!stale && due.step > step_) break;
    finish_.pop();
    if (!stale) return due.seq;
  }
  return kNoSeq;
}

std::int64_t DecodePool::blocks_needed(std::int64_t steps) const {
  std::int64_t blocks = steps / block_size_ * set_.seqs;
  for (std::int64_t i = 0; i < steps % block_size_; ++i) blocks += boundary_[(step_ + i) % block_size_];
  return blocks;
}

std::int64_t DecodePool::steps_within(std::int64_t free, std::int64_t limit) const {
  if (set_.seqs == 0 || limit <= 0) return limit;
  std::int64_t steps = free / set_.seqs * block_size_;
  if (steps >= limit) return limit;
  free -= free / set_.seqs * set_.seqs;
  for (; steps < limit; ++steps) {
    free -= boundary_[(step_ + steps) % block_size_];
    if (free < 0) break;
  }
  return steps;
}

std::int64_t DecodePool::steps_to_event() const {
  std::int64_t steps = finish_.empty() ? std::int64_t{1} << 40 : finish_.top().step - step_;
  for (const auto& due : crossings_) {
    if (!due.empty()) steps = std::min(steps, due.front().first - step_);
  }
  return steps;
}

}  // namespace orrery
