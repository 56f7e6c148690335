#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orrery {

/// The physical blocks behind KvCache's counts, for an engine that must address them: which blocks each entry
/// of its books (cached unit or free run) holds. Blocks are numbered from 1; block 0 is the null block, held
/// by nobody (vLLM v1, block_pool.py: null_block). An entry's blocks stand in token order and are evicted
/// from the last to the first; a table lists those of one sequence in token order, shared ones included.
class BlockIds {
 public:
  /// All blocks of a pool of `total`, in the order in which a fresh entry gives out 1, 2, 3...
  static std::vector<std::int32_t> fresh(std::int64_t total);

  std::span<const std::int32_t> of(std::int32_t entry) const;
  void append(std::int32_t entry, std::span<const std::int32_t> blocks);
  void clear(std::int32_t entry);
  /// Errors: InternalError when the entry does not hold `blocks`, as KvCache counts.
  void check_size(std::int32_t entry, std::int64_t blocks) const;

  /// Makes an empty table and returns its number.
  std::int32_t open_table();
  void close_table(std::int32_t table);
  std::span<const std::int32_t> table(std::int32_t table) const;
  /// Moves the last `count` blocks of an entry to the end of a table, the very last first.
  void evict(std::int32_t entry, std::int64_t count, std::int32_t table);
  /// Puts the first `count` blocks of an entry, which keeps them, at the end of a table.
  void share(std::int32_t entry, std::int64_t count, std::int32_t table);

 private:
  std::vector<std::vector<std::int32_t>> entries_;  ///< by index into KvCache's units
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::int32_t> spare_tables_;
};

}  // namespace orrery
