// What a KV cache keeps below the GPU's memory.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "serving/kv_cache.hpp"

namespace orrery {

void KvCache::make_tiers(const KvConfig& config) {
  if (!caching_ || !windows_.empty()) {
    throw ConfigError(
        "KV blocks are offloaded by their prefix: that needs prefix caching, and layers that all keep every "
        "token",
        "--enable-prefix-caching, or no tiers");
  }
  ORRERY_CHECK(!config.block_ids, "with block ids there are no tiers");
  tier_chunk_ = std::max<std::int64_t>(1, config.tier_chunk / block_size_);
  tiers_.emplace(config.tiers, config.tier_writes, config.store);
}

KvLoad KvCache::stored(const Sequence& seq, const Hit& hit) const {
  KvLoad load;
  if (!tiers_ || !seq.request.prefix) return load;
  const Units units = units_of(seq.request);
  const std::int64_t first = hit.tokens / block_size_;
  const std::int64_t limit = std::min((seq.target - 1) / block_size_, units.named_blocks);
  std::int64_t blocks = first;
  load.blocks.resize(tiers_->counts().size());
  std::vector<std::pair<int, std::int64_t>> parts;
  for (auto i = static_cast<std::size_t>(first / units.blocks_per_unit); i < units.count && blocks < limit;
       ++i) {
    const std::int64_t begin = static_cast<std::int64_t>(i) * units.blocks_per_unit;
    const KvTiers::Found found = tiers_->find(units.id(i), blocks - begin);
    if (found.tier < 0) break;
    const std::int64_t end = std::min({begin + found.blocks, units.end(i), limit});
    if (end <= blocks) break;
    parts.emplace_back(found.tier, end - blocks);
    blocks = end;
    if (blocks < units.end(i)) break;
  }
  blocks = std::max(first, blocks / tier_chunk_ * tier_chunk_);
  for (std::int64_t left = blocks - first; const auto& [tier, count] : parts) {
    const std::int64_t used = std::min(left, count);
    load.blocks[static_cast<std::size_t>(tier)] += used;
    left -= used;
  }
  load.tokens = (blocks - first) * block_size_;
  return load;
}

}  // namespace orrery
