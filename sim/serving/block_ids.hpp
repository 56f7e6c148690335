#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orrery {

/// The physical blocks behind KvCache's counts, for an engine that must address them: which blocks each entry
/// of its books (cached unit or free run) holds. Blocks are numbered from 1; block 0 is the null block, held
/// by nobody (vLLM v1, block_pool.py: null_block). An entry's blocks stand in token order and are evicted
/// from the last to the first.
class BlockIds {
 public:
  /// All blocks of a pool of `total`, in the order in which a fresh entry gives out 1, 2, 3...
  static std::vector<std::int32_t> fresh(std::int64_t total);

  std::span<const std::int32_t> of(std::int32_t entry) const;
  void append(std::int32_t entry, std::span<const std::int32_t> blocks);
  /// Moves the last `count` blocks of an entry to the end of `table`, the very last first.
  void evict(std::int32_t entry, std::int64_t count, std::vector<std::int32_t>& table);
  void clear(std::int32_t entry);

 private:
  std::vector<std::vector<std::int32_t>> entries_;  ///< by index into KvCache's units
};

}  // namespace orrery
