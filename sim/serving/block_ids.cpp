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

void BlockIds::clear(std::int32_t entry) {
  if (static_cast<std::size_t>(entry) < entries_.size()) entries_[static_cast<std::size_t>(entry)].clear();
}

void BlockIds::check_size(std::int32_t entry, std::int64_t blocks) const {
  ORRERY_CHECK(std::ssize(of(entry)) == blocks, "KV blocks counted and named differ");
}

std::int32_t BlockIds::open_table() {
  if (spare_tables_.empty()) {
    tables_.emplace_back();
    return static_cast<std::int32_t>(tables_.size()) - 1;
  }
  const std::int32_t table = spare_tables_.back();
  spare_tables_.pop_back();
  return table;
}

void BlockIds::close_table(std::int32_t table) {
  tables_[static_cast<std::size_t>(table)].clear();
  spare_tables_.push_back(table);
}

std::span<const std::int32_t> BlockIds::table(std::int32_t table) const {
  return tables_[static_cast<std::size_t>(table)];
}

void BlockIds::evict(std::int32_t entry, std::int64_t count, std::int32_t table) {
  auto& from = entries_[static_cast<std::size_t>(entry)];
  auto& to = tables_[static_cast<std::size_t>(table)];
  ORRERY_CHECK(count <= std::ssize(from), "more blocks evicted than the entry holds");
  to.insert(to.end(), from.rbegin(), from.rbegin() + count);
  from.resize(from.size() - static_cast<std::size_t>(count));
}

void BlockIds::share(std::int32_t entry, std::int64_t count, std::int32_t table) {
  const auto& from = entries_[static_cast<std::size_t>(entry)];
  auto& to = tables_[static_cast<std::size_t>(table)];
  ORRERY_CHECK(count <= std::ssize(from), "more blocks shared than the entry holds");
  to.insert(to.end(), from.begin(), from.begin() + count);
}

}  // namespace orrery
