// The prefix cache of groups with caps: a unit is one block, and a sequence holds the units in its window.
#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/mix.hpp"
#include "serving/kv_cache.hpp"

namespace orrery {

void KvCache::find_windows() {
  for (const KvBlockGroup& group : groups_.all()) {
    if (!group.full()) windows_.push_back({group, mix(windows_.size() + 1)});
  }
}

/// An id of the prefix up to and with `block`: that of the unit of the group that keeps everything, and the
/// place in it.
std::uint64_t KvCache::window_id(const Units& units, std::int64_t block, std::size_t w) const {
  const auto unit = static_cast<std::size_t>(block / units.blocks_per_unit);
  return mix(units.id(unit) ^ windows_[w].salt) + mix(static_cast<std::uint64_t>(block));
}

std::int32_t KvCache::own_window(const Sequence& seq, std::size_t w) const {
  if (w >= seq.hold.windows.size() || seq.hold.windows[w].own_from < 0) return kNone;
  return find(own_id(seq.request) ^ windows_[w].salt);
}

/// The unit of a named block that is cached in all groups of the window; evicted in one, it is useless.
std::int32_t KvCache::window_unit(const Units* units, std::int64_t block, std::size_t w) const {
  if (!units || block >= units->named_blocks) return kNone;
  const std::int32_t index = find(window_id(*units, block, w));
  return index != kNone && units_[index].blocks == windows_[w].group.count ? index : kNone;
}

/// How many of the first `blocks` blocks are a hit: so many that those are cached which the next token
/// attends to (vLLM v1, single_type_kv_cache_manager.py, find_longest_cache_hit).
std::int64_t KvCache::window_hit(const Sequence& seq, const Units* units, std::size_t w,
                                 std::int64_t blocks) const {
  const KvBlockGroup& group = windows_[w].group;
  const std::int32_t own = own_window(seq, w);
  const std::int64_t own_from = own == kNone ? 0 : seq.hold.windows[w].own_from;
  const std::int64_t own_end = own == kNone ? 0 : own_from + units_[own].blocks / group.count;
  const auto cached = [&](std::int64_t b) {
    return (own_from <= b && b < own_end) || window_unit(units, b, w) != kNone;
  };
  if (group.cap.wraps) {
    const std::int64_t chunk = group.cap.tokens / block_size_;
    std::int64_t end = blocks / chunk * chunk;
    while (end < blocks && cached(end)) ++end;
    return end;
  }
  const std::int64_t wanted = (group.cap.tokens - 1 + block_size_ - 1) / block_size_;
  std::int64_t found = 0;
  for (std::int64_t b = blocks; b > 0 && found < wanted; --b) {
    if (cached(b - 1)) {
      ++found;
    } else {
      blocks = b - 1, found = 0;
    }
  }
  return blocks;
}

/// A length that is a hit in every group with a cap.
std::int64_t KvCache::windows_hit(const Sequence& seq, std::int64_t blocks) const {
  std::optional<Units> units;
  if (seq.request.prefix) units = units_of(seq.request);
  for (std::int64_t before = -1; before != blocks;) {
    before = blocks;
    for (std::size_t w = 0; w < windows_.size(); ++w)
      blocks = window_hit(seq, units ? &*units : nullptr, w, blocks);
  }
  return blocks;
}

std::int64_t KvCache::window_free_blocks(const Sequence& seq, std::int64_t blocks) const {
  if (blocks == 0) return 0;
  std::optional<Units> units;
  if (seq.request.prefix) units = units_of(seq.request);
  std::int64_t free = 0;
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    const KvBlockGroup& group = windows_[w].group;
    for (std::int64_t b = KvGroups::dropped(group, blocks * block_size_); b < blocks; ++b) {
      const std::int32_t index = window_unit(units ? &*units : nullptr, b, w);
      if (index == kNone || units_[index].queued) free += group.count;  // not named: its own, which are free
    }
  }
  return free;
}

void KvCache::admit_windows(Sequence& seq, std::int64_t wanted) {
  seq.hold.windows.resize(windows_.size());
  std::optional<Units> units;
  if (seq.request.prefix) units = units_of(seq.request);
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    const KvBlockGroup& group = windows_[w].group;
    WindowHold& hold = seq.hold.windows[w];
    hold.first = KvGroups::dropped(group, wanted * block_size_);
    std::int64_t own_used = 0;
    for (std::int64_t b = hold.first; b < wanted; ++b) {
      const std::int32_t index = window_unit(units ? &*units : nullptr, b, w);
      if (index == kNone) {
        ++own_used;
        continue;
      }
      if (units_[index].queued) unqueue(index);
      ++units_[index].references;
      hold.units.push_back(index);
    }
    if (const std::int32_t own = own_window(seq, w); own != kNone) {
      unqueue(own);
      enqueue_anonymous(units_[own].blocks - own_used * group.count, {});
      drop_unit(own);
    }
    hold.own_from = -1;
  }
}

/// As give_identities(), block by block.
void KvCache::give_window_identities(Sequence& seq, Tokens after) {
  const Units units = units_of(seq.request);
  const std::int64_t full = std::min(after / block_size_, units.named_blocks);
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    WindowHold& hold = seq.hold.windows[w];
    for (std::int64_t b = hold.first + std::ssize(hold.units); b < full; ++b) {
      const std::uint64_t id = window_id(units, b, w);
      std::int32_t index = find(id);
      if (index != kNone && units_[index].blocks == windows_[w].group.count) {
        hold.units.push_back(kNone);  // another sequence has computed it meanwhile
        continue;
      }
      if (index != kNone) {  // partly evicted
        units_[index].has_id = false;
        by_id_.erase(id);
      }
      index = make_unit(id, true);
      units_[index].blocks = windows_[w].group.count;
      units_[index].references = 1;
      hold.units.push_back(index);
    }
  }
}

/// Lets go of a hold's units before block `end`, the last first. Returns how many blocks of one group they
/// were.
std::int64_t KvCache::drop_units(WindowHold& hold, std::int64_t count, std::int64_t end) {
  const std::int64_t gone = std::min(end - hold.first, std::ssize(hold.units));
  if (gone <= 0) return 0;
  for (std::int64_t i = gone; i-- > 0;) {
    const std::int32_t index = hold.units[static_cast<std::size_t>(i)];
    if (index == kNone) {
      enqueue_anonymous(count, {});
    } else {
      dereference(index);
    }
  }
  hold.units.erase(hold.units.begin(), hold.units.begin() + static_cast<std::ptrdiff_t>(gone));
  hold.first += gone;
  return gone;
}

std::int64_t KvCache::drop_cached(Sequence& seq, Tokens stored) {
  std::int64_t sum = 0;
  for (std::size_t w = 0; w < seq.hold.windows.size(); ++w) {
    const KvBlockGroup& group = windows_[w].group;
    sum += group.count * drop_units(seq.hold.windows[w], group.count, KvGroups::dropped(group, stored));
  }
  return sum;
}

void KvCache::drop(Sequence& seq, Tokens before, Tokens after) {
  const std::int64_t blocks = groups_.dropped(before, after);
  if (blocks > 0) give_back(blocks - drop_cached(seq, after));
}

Tokens KvCache::next_cached_drop(const Sequence& seq) const {
  Tokens next = 0;
  for (std::size_t w = 0; w < seq.hold.windows.size(); ++w) {
    const WindowHold& hold = seq.hold.windows[w];
    if (hold.units.empty()) continue;
    const Tokens at = KvGroups::drops_at(windows_[w].group, hold.first);
    next = next == 0 ? at : std::min(next, at);
  }
  return next;
}

void KvCache::release_windows(Sequence& seq, Tokens tokens, bool resumable) {
  if (!caching_)
    return enqueue_anonymous(groups_.held(tokens) - groups_.held_in_full(tokens) - groups_.states(), {});
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    const KvBlockGroup& group = windows_[w].group;
    WindowHold& hold = seq.hold.windows[w];
    const std::int64_t end = KvGroups::taken(group, tokens), full = tokens / block_size_;
    const std::int64_t named = hold.first + std::ssize(hold.units);
    const std::int64_t from = std::max(KvGroups::dropped(group, tokens), named);
    if (resumable && full > from) {
      enqueue_anonymous((end - full) * group.count, {});
      const std::int32_t index = make_unit(own_id(seq.request) ^ windows_[w].salt, true);
      units_[index].blocks = (full - from) * group.count;
      enqueue(index);
      hold.own_from = from;
    } else {
      enqueue_anonymous((end - from) * group.count, {});
    }
    drop_units(hold, group.count, named);
  }
}

}  // namespace orrery
