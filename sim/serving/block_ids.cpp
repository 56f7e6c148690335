#include "serving/block_ids.hpp"

#include <limits>
#include <numeric>

#include "base/error.hpp"

namespace orrery {

std::vector<std::int32_t> BlockIds::fresh(std::int64_t total) {
  ORRERY_CHECK(total < std::numeric_limits<std::int32_t>::max(), "more KV blocks than block ids");
  std::vector<std::int32_t> ids(static_cast<std::size_t>(total));
  std::iota(ids.rbegin(), ids.rend(), 1);
  return ids;
}

std::span<const std::int32_t> BlockIds::of(std::int32_t entry) const {
  const auto i = static_cast<std::size_t>(entry);
  return i < entries_.size() ? std::span<const std::int32_t>(entries_[i]) : std::span<const std::int32_t>();
}

void BlockIds::append(std::int32_t entry, std::span<const std::int32_t> blocks) {
  const auto i = static_cast<std::size_t>(entry);
  if (i >= entries_.size()) entries_.resize(i + 1);
  entries_[i].insert(entries_[i].end(), blocks.begin(), blocks.end());
}

void BlockIds::evict(std::int32_t entry, std::int64_t count, std::vector<std::int32_t>& table) {
  auto& ids = entries_[static_cast<std::size_t>(entry)];
  ORRERY_CHECK(count <= static_cast<std::int64_t>(ids.size()), "more blocks evicted than the entry holds");
  table.insert(table.end(), ids.rbegin(), ids.rbegin() + count);
  ids.resize(ids.size() - static_cast<std::size_t>(count));
}

void BlockIds::clear(std::int32_t entry) {
  if (static_cast<std::size_t>(entry) < entries_.size()) entries_[static_cast<std::size_t>(entry)].clear();
}

}  // namespace orrery
