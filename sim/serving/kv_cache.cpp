#include "serving/kv_cache.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.hpp"

namespace orrery {

KvCache::KvCache(const KvConfig& config)
    : groups_(config),
      block_size_(config.groups.empty() ? config.block_size : groups_.all().front().block_size),
      caching_(config.enable_prefix_caching && !groups_.has_states() && groups_.even() &&
               groups_.full() <= 1),
      total_(config.blocks - 1),
      free_(0) {
  if (total_ < 1) throw ConfigError("no KV blocks: the cache needs at least 2", {}, ExitCode::infeasible);
  ORRERY_CHECK(!config.block_ids || groups_.plain(),
               "block ids are kept for one group that keeps everything");
  if (config.block_ids) ids_.emplace();
  if (caching_) find_windows();
  if (!config.tiers.empty()) make_tiers(config);
  enqueue_anonymous(total_, config.block_ids ? BlockIds::fresh(total_) : std::vector<std::int32_t>());
}

std::int32_t KvCache::find(std::uint64_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? kNone : it->second;
}

std::int32_t KvCache::make_unit(std::uint64_t id, bool has_id) {
  std::int32_t index;
  if (spare_.empty()) {
    index = static_cast<std::int32_t>(units_.size());
    units_.emplace_back();
  } else {
    index = spare_.back();
    spare_.pop_back();
  }
  units_[index] = Unit{};
  units_[index].id = id;
  units_[index].has_id = has_id;
  if (has_id) by_id_.emplace(id, index);
  return index;
}

void KvCache::drop_unit(std::int32_t index) {
  if (units_[index].has_id) by_id_.erase(units_[index].id);
  if (ids_) ids_->clear(index);
  spare_.push_back(index);
}

void KvCache::enqueue(std::int32_t index) {
  Unit& unit = units_[index];
  unit.before = tail_;
  unit.after = kNone;
  unit.queued = true;
  (tail_ == kNone ? head_ : units_[tail_].after) = index;
  tail_ = index;
  free_ += unit.blocks;
  if (ids_) ids_->check_size(index, unit.blocks);
}

void KvCache::unqueue(std::int32_t index) {
  Unit& unit = units_[index];
  (unit.before == kNone ? head_ : units_[unit.before].after) = unit.after;
  (unit.after == kNone ? tail_ : units_[unit.after].before) = unit.before;
  unit.queued = false;
  free_ -= unit.blocks;
}

/// Counts are merged. Block ids are not, so that within an entry token order and order of eviction stay the
/// reverse of each other.
void KvCache::enqueue_anonymous(std::int64_t blocks, std::span<const std::int32_t> ids) {
  if (blocks == 0) return;
  if (!ids_ && tail_ != kNone && !units_[tail_].has_id) {
    units_[tail_].blocks += blocks;
    free_ += blocks;
    return;
  }
  const std::int32_t index = make_unit(0, false);
  units_[index].blocks = blocks;
  if (ids_) ids_->append(index, ids);
  enqueue(index);
}

void KvCache::take(std::int64_t blocks) {
  ORRERY_CHECK(!ids_, "with block ids, blocks are taken for a sequence");
  held_ += blocks;
  pop(blocks);
}

void KvCache::pop(std::int64_t blocks) {
  ORRERY_CHECK(blocks <= free_, "more KV blocks taken than are free");
  free_ -= blocks;
  while (blocks > 0) {
    Unit& oldest = units_[head_];
    const std::int64_t part = std::min(blocks, oldest.blocks);
    if (oldest.has_id) evicted_ += part;
    if (tiers_ && oldest.has_id && !oldest.own) tiers_->evicted(oldest.id, oldest.blocks);
    oldest.blocks -= part;
    blocks -= part;
    if (oldest.blocks > 0) break;
    const std::int32_t index = head_;
    unqueue(index);
    drop_unit(index);
  }
}

/// The next `blocks` that pop() takes become the last of the sequence's table.
void KvCache::name_next(const Sequence& seq, std::int64_t blocks) {
  ORRERY_CHECK(seq.hold.table >= 0, "blocks taken for a sequence that was not admitted");
  for (std::int32_t i = head_; blocks > 0 && i != kNone; i = units_[i].after) {
    const std::int64_t part = std::min(blocks, units_[i].blocks);
    ids_->evict(i, part, seq.hold.table);
    blocks -= part;
  }
}

/// Blocks [begin, end) of a sequence; empty without block ids.
std::span<const std::int32_t> KvCache::ids_of(const Sequence& seq, std::int64_t begin,
                                              std::int64_t end) const {
  if (!ids_) return {};
  return block_table(seq).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

std::span<const std::int32_t> KvCache::block_table(const Sequence& seq) const {
  ORRERY_CHECK(ids_, "block tables are kept with KvConfig::block_ids only");
  if (seq.hold.table < 0) return {};
  return ids_->table(seq.hold.table);
}

KvCache::Units KvCache::units_of(const Request& request) const {
  const PrefixKeys& keys = *request.prefix;
  ORRERY_CHECK(keys.block_tokens > 0, "prefix keys of empty blocks");
  const Tokens tokens = Tokens{request.prompt_tokens} + (keys.answer ? request.output_tokens : 0);
  const auto per_unit = static_cast<std::size_t>(block_size_ / std::gcd(block_size_, keys.block_tokens));
  return {&keys, per_unit, (keys.ids.size() + per_unit - 1) / per_unit,
          static_cast<std::int64_t>(per_unit) * keys.block_tokens / block_size_,
          std::min<Tokens>(tokens, std::ssize(keys.ids) * keys.block_tokens) / block_size_};
}

std::uint64_t KvCache::Units::id(std::size_t i) const {
  return keys->ids[std::min((i + 1) * ids_per_unit, keys->ids.size()) - 1];  // an id names its whole prefix
}

std::int64_t KvCache::Units::end(std::size_t i) const {
  return std::min(static_cast<std::int64_t>(i + 1) * blocks_per_unit, named_blocks);
}

std::uint64_t KvCache::own_id(const Request& request) {
  // Trace ids are small or hashes; the top bit and a mix keep a request's own blocks apart from them.
  return (static_cast<std::uint64_t>(request.id) * 0x9e3779b97f4a7c15ULL) | (1ULL << 63);
}

KvCache::Hit KvCache::lookup(const Sequence& seq) const {
  if (!caching_) return {};
  const std::int64_t limit = (seq.target - 1) / block_size_;
  if (windows_.empty()) return lookup_full(seq, limit);
  Hit hit{limit * block_size_, 0};
  if (groups_.full() > 0) hit = lookup_full(seq, limit);
  const std::int64_t blocks = windows_hit(seq, hit.tokens / block_size_);
  if (groups_.full() > 0 && blocks * block_size_ < hit.tokens) hit = lookup_full(seq, blocks);
  return {blocks * block_size_, hit.free_blocks + window_free_blocks(seq, blocks)};
}

/// What the group that keeps everything has of a sequence's first `limit` blocks.
KvCache::Hit KvCache::lookup_full(const Sequence& seq, std::int64_t limit) const {
  Hit hit;
  std::int64_t blocks = 0;
  if (seq.request.prefix) {
    const Units units = units_of(seq.request);
    for (std::size_t i = 0; i < units.count && blocks < limit; ++i) {
      const std::int64_t end = units.end(i);
      const std::int32_t index = end > blocks ? find(units.id(i)) : kNone;
      if (index == kNone) break;
      const Unit& unit = units_[index];
      if (unit.queued) hit.free_blocks += unit.blocks;
      blocks += std::min({unit.blocks, end - blocks, limit - blocks});
      if (blocks < end) break;
    }
  }
  if (seq.hold.own_from == blocks && blocks < limit) {
    if (const std::int32_t own = find(own_id(seq.request)); own != kNone) {
      const std::int64_t here = std::min(units_[own].blocks, limit - blocks);
      hit.free_blocks += here;
      blocks += here;
    }
  }
  hit.tokens = blocks * block_size_;
  return hit;
}

Tokens KvCache::cached_tokens(const Request& request) const {
  if (!request.prefix) return 0;
  Sequence probe;
  probe.request = request;
  probe.target = request.prompt_tokens;
  const Hit hit = lookup(probe);
  return hit.tokens + (tiers_ ? stored(probe, hit).tokens : 0);
}

void KvCache::admit_hit(Sequence& seq, const Hit& hit) {
  if (ids_) seq.hold.table = ids_->open_table();
  held_ += hit.tokens / block_size_;
  if (caching_ && groups_.full() > 0) admit_full(seq, hit.tokens / block_size_);
  if (!windows_.empty()) admit_windows(seq, hit.tokens / block_size_);
}

void KvCache::admit(Sequence& seq, const Hit& hit, Tokens tokens) {
  admit_hit(seq, hit);
  extend(seq, hit.tokens, tokens);
}

void KvCache::admit_full(Sequence& seq, std::int64_t wanted) {
  std::int64_t blocks = 0;
  if (seq.request.prefix) {
    const Units units = units_of(seq.request);
    for (std::size_t i = 0; i < units.count && blocks < wanted; ++i) {
      const std::int32_t index = units.end(i) > blocks ? find(units.id(i)) : kNone;
      if (index == kNone) break;  // the rest of the hit is the sequence's own
      Unit& unit = units_[index];
      if (unit.queued) unqueue(index);
      ++unit.references;
      if (tiers_) tiers_->hit(unit.id, unit.blocks);
      seq.hold.units.push_back(index);
      const std::int64_t here = std::min({unit.blocks, units.end(i) - blocks, wanted - blocks});
      if (ids_) ids_->share(index, here, seq.hold.table);
      blocks += here;
    }
    seq.hold.shared_blocks = blocks;
  }
  if (seq.hold.own_from >= 0) {
    if (const std::int32_t own = find(own_id(seq.request)); own != kNone) {
      unqueue(own);
      const std::int64_t used = wanted - blocks, unused = units_[own].blocks - used;
      if (ids_) ids_->share(own, used, seq.hold.table);
      enqueue_anonymous(unused, ids_ ? ids_->of(own).subspan(static_cast<std::size_t>(used))
                                     : std::span<const std::int32_t>());
      drop_unit(own);
    }
    seq.hold.own_from = -1;
  }
}

void KvCache::extend(Sequence& seq, Tokens before, Tokens after) {
  grow(seq, groups_.needed(before, after));
  fill(seq, before, after);
}

void KvCache::reserve(Sequence& seq, const Hit& hit, Tokens tokens) {
  admit_hit(seq, hit);
  grow(seq, groups_.needed(hit.tokens, tokens));
}

void KvCache::fill(Sequence& seq, Tokens before, Tokens after) {
  if (!caching_ || !seq.request.prefix) return;
  if (groups_.full() > 0) give_identities(seq, before, after);
  if (!windows_.empty()) give_window_identities(seq, after);
}

/// Full blocks of [before, after) become cached when they are scheduled, as vLLM's allocate_slots does. A
/// unit another sequence has computed meanwhile stays as it is, and the blocks here remain private
/// duplicates; beside groups with caps, which often make a sequence compute what this group has, and where an
/// answer is to be cached, those behind them get theirs all the same (as in vLLM).
void KvCache::give_identities(Sequence& seq, Tokens before, Tokens after) {
  const Units units = units_of(seq.request);
  const std::int64_t full = std::min(after / block_size_, units.named_blocks);
  auto i = static_cast<std::size_t>(before / block_size_ / units.blocks_per_unit);
  for (; i < units.count; ++i) {
    const std::int64_t begin = static_cast<std::int64_t>(i) * units.blocks_per_unit;
    const std::int64_t end = std::min(units.end(i), full);
    if (end <= begin || i > seq.hold.units.size()) break;
    if (i == seq.hold.units.size()) {
      const bool theirs = find(units.id(i)) != kNone;
      const bool alone = windows_.empty() && (ids_ || !seq.request.prefix->answer);
      if (seq.hold.shared_blocks != begin || (theirs && alone)) break;
      const std::int32_t made = theirs ? kNone : make_unit(units.id(i), true);
      if (!theirs) units_[made].references = 1;
      seq.hold.units.push_back(made);
    }
    if (seq.hold.units[i] == kNone) {
      seq.hold.shared_blocks = std::max(seq.hold.shared_blocks, end);
      continue;
    }
    Unit& unit = units_[seq.hold.units[i]];
    if (seq.hold.shared_blocks != begin + unit.blocks || end <= seq.hold.shared_blocks) continue;
    if (ids_) ids_->append(seq.hold.units[i], ids_of(seq, seq.hold.shared_blocks, end));
    unit.blocks = end - begin;
    seq.hold.shared_blocks = end;
    if (tiers_) tiers_->computed(unit.id, unit.blocks);
  }
}

void KvCache::release(Sequence& seq, Tokens tokens, bool resumable) {
  held_ -= blocks_for(tokens);
  if (groups_.full() > 0) release_full(seq, tokens, resumable);
  release_windows(seq, tokens, resumable);
  enqueue_anonymous(groups_.states(), {});
  if (ids_) ids_->close_table(std::exchange(seq.hold.table, -1));
}

void KvCache::release_full(Sequence& seq, Tokens tokens, bool resumable) {
  if (!caching_ && !ids_) return enqueue_anonymous(groups_.held_in_full(tokens), {});
  const bool answered = !resumable && seq.request.prefix && seq.request.prefix->answer;
  if (caching_ && answered && windows_.empty())
    give_identities(seq, seq.hold.shared_blocks * block_size_, tokens);
  const std::int64_t own = blocks_for(tokens) - seq.hold.shared_blocks;
  const std::int64_t full = std::max<std::int64_t>(0, tokens / block_size_ - seq.hold.shared_blocks);
  const std::int64_t first = seq.hold.shared_blocks, end = first + own;
  ORRERY_CHECK(!ids_ || std::ssize(block_table(seq)) == end, "a block table does not fit its sequence");
  seq.hold.own_from = -1;
  if (resumable && caching_ && full > 0) {
    seq.hold.own_from = static_cast<std::int32_t>(first);
    enqueue_anonymous(own - full, ids_of(seq, first + full, end));
    const std::int32_t index = make_unit(own_id(seq.request), true);
    units_[index].blocks = full;
    units_[index].own = true;
    if (ids_) ids_->append(index, ids_of(seq, first, first + full));
    enqueue(index);
  } else {
    enqueue_anonymous(own, ids_of(seq, first, end));
  }
  release_units(seq);
}

void KvCache::release_units(Sequence& seq) {
  for (std::size_t i = seq.hold.units.size(); i-- > 0;) {
    if (seq.hold.units[i] != kNone) {
      if (tiers_) tiers_->used(units_[seq.hold.units[i]].id);
      dereference(seq.hold.units[i]);
    } else {
      const Units units = units_of(seq.request);
      const std::int64_t begin = static_cast<std::int64_t>(i) * units.blocks_per_unit;
      enqueue_anonymous(std::min(units.end(i), seq.hold.shared_blocks) - begin, {});
    }
  }
  seq.hold.units.clear();
  seq.hold.shared_blocks = 0;
}

void KvCache::dereference(std::int32_t index) {
  Unit& unit = units_[index];
  if (--unit.references > 0) return;
  if (unit.blocks > 0) {
    enqueue(index);
  } else {
    drop_unit(index);
  }
}

}  // namespace orrery
