#include "serving/kv_tiers.hpp"

namespace orrery {

std::int64_t KvTier::blocks(std::uint64_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? 0 : it->second->blocks;
}

void KvTier::touch(std::uint64_t id) {
  const auto it = by_id_.find(id);
  if (it != by_id_.end()) order_.splice(order_.end(), order_, it->second);
}

std::int64_t KvTier::put(std::uint64_t id, std::int64_t blocks, std::vector<Unit>& evicted) {
  const std::int64_t had = this->blocks(id);
  if (blocks <= had || blocks > capacity_) return 0;
  if (had == 0) {
    by_id_.emplace(id, order_.insert(order_.end(), Unit{id, 0}));
  } else {
    touch(id);
  }
  const std::int64_t written = blocks - had;
  while (used_ + written > capacity_) {  // the unit itself comes last, and fits alone
    const Unit oldest = order_.front();
    order_.pop_front();
    by_id_.erase(oldest.id);
    used_ -= oldest.blocks;
    evicted.push_back(oldest);
  }
  order_.back().blocks = blocks;
  used_ += written;
  return written;
}

KvTiers::KvTiers(const std::vector<KvTierConfig>& tiers, KvWrites writes,
                 const std::shared_ptr<KvTier>& store)
    : writes_(writes) {
  for (const KvTierConfig& tier : tiers) {
    const bool from_store = tier.shared && store != nullptr;
    tiers_.push_back({from_store ? store : std::make_shared<KvTier>(tier.blocks), tier.shared});
    counts_.push_back({tier.name});
  }
}

KvTiers::Found KvTiers::find(std::uint64_t id, std::int64_t beyond) const {
  for (std::size_t t = 0; t < tiers_.size(); ++t) {
    const std::int64_t blocks = tiers_[t].tier->blocks(id);
    if (blocks > beyond) return {static_cast<int>(t), blocks};
  }
  return {};
}

/// What it evicts goes on to the next tier when tiers are written to by eviction.
void KvTiers::write(std::size_t tier, std::uint64_t id, std::int64_t blocks) {
  std::vector<KvTier::Unit> evicted;
  counts_[tier].written += tiers_[tier].tier->put(id, blocks, evicted);
  for (const KvTier::Unit& unit : evicted) {
    counts_[tier].evicted += unit.blocks;
    const std::size_t next = tier + 1;
    if (writes_ == KvWrites::back && next < tiers_.size() && !tiers_[next].shared)
      write(next, unit.id, unit.blocks);
  }
}

void KvTiers::write_all(std::uint64_t id, std::int64_t blocks, bool shared_only) {
  for (std::size_t t = 0; t < tiers_.size(); ++t) {
    if (!shared_only || tiers_[t].shared) write(t, id, blocks);
  }
}

void KvTiers::computed(std::uint64_t id, std::int64_t blocks) {
  if (writes_ != KvWrites::selective) write_all(id, blocks, writes_ == KvWrites::back);
}

void KvTiers::hit(std::uint64_t id, std::int64_t blocks) {
  if (writes_ == KvWrites::selective) write_all(id, blocks, false);
}

void KvTiers::evicted(std::uint64_t id, std::int64_t blocks) {
  if (writes_ == KvWrites::back && !tiers_.empty() && !tiers_.front().shared) write(0, id, blocks);
}

void KvTiers::used(std::uint64_t id) {
  for (const Place& place : tiers_) place.tier->touch(id);
}

void KvTiers::read(const KvLoad& load) {
  for (std::size_t t = 0; t < load.blocks.size(); ++t) counts_[t].read += load.blocks[t];
}

}  // namespace orrery
