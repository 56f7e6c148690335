#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/units.hpp"

namespace orrery {

/// When blocks of a known prefix are copied to the tiers below the GPU's memory. The words are SGLang's
/// (--hicache-write-policy).
enum class KvWrites : std::uint8_t {
  back,       ///< write_back: as they are evicted; from there on to the next tier likewise
  through,    ///< write_through: as they are computed, to every tier (vLLM's offloading connector, LMCache)
  selective,  ///< write_through_selective: when they are hit for the first time
};

/// One tier: a server's memory or drives, or storage that all replicas share.
struct KvTierConfig {
  std::string name;         ///< "host", "disk", "remote"
  std::int64_t blocks = 0;  ///< it holds
  bool shared = false;      ///< by all replicas; always written to as blocks are computed (or hit)
};

/// KV blocks of known prefixes in one tier, as units of blocks under an id (see KvCache): so many leading
/// blocks of the unit are there. The least recently used unit makes room.
class KvTier {
 public:
  struct Unit {
    std::uint64_t id = 0;
    std::int64_t blocks = 0;
  };

  explicit KvTier(std::int64_t blocks) : capacity_(blocks) {}

  std::int64_t capacity() const { return capacity_; }
  std::int64_t used() const { return used_; }
  /// Leading blocks of a unit that are here.
  std::int64_t blocks(std::uint64_t id) const;
  void touch(std::uint64_t id);
  /// Brings a unit to `blocks` leading blocks. Returns how many of them are written: 0 where they are here
  /// already or the unit is larger than the tier. What makes room is added to `evicted`.
  std::int64_t put(std::uint64_t id, std::int64_t blocks, std::vector<Unit>& evicted);

 private:
  std::int64_t capacity_, used_ = 0;
  std::list<Unit> order_;  ///< least recently used first
  std::unordered_map<std::uint64_t, std::list<Unit>::iterator> by_id_;
};

/// Blocks of a prompt that lie in lower tiers, by tier, or of a preempted sequence in swap space.
struct KvLoad {
  Tokens tokens = 0;
  std::int64_t swapped = 0;
  std::vector<std::int64_t> blocks;
};

/// What has gone to and come from a tier.
struct KvTierCounts {
  std::string name;
  std::int64_t read = 0, written = 0, evicted = 0;  ///< blocks
};

/// The tiers below one engine core's KV cache. Decisions only: a block counts as there from the decision to
/// write it, and copies from the GPU do not slow down those to it (links have two directions).
class KvTiers {
 public:
  /// `store` is the tier that is shared, if one is; of this core alone without it.
  KvTiers(const std::vector<KvTierConfig>& tiers, KvWrites writes, const std::shared_ptr<KvTier>& store);

  /// The nearest tier that has more than `beyond` leading blocks of a unit, and how many it has; -1 = none.
  struct Found {
    int tier = -1;
    std::int64_t blocks = 0;
  };
  Found find(std::uint64_t id, std::int64_t beyond) const;

  // What happens to a unit of the GPU's cache.
  void computed(std::uint64_t id, std::int64_t blocks);  ///< has so many blocks now
  void hit(std::uint64_t id, std::int64_t blocks);       ///< another sequence goes on from it
  void evicted(std::uint64_t id, std::int64_t blocks);   ///< had so many, and loses some
  /// A sequence that used it has left; of its units the last comes first, so that tails are evicted first.
  void used(std::uint64_t id);

  void read(const KvLoad& load);
  const std::vector<KvTierCounts>& counts() const { return counts_; }

 private:
  void write(std::size_t tier, std::uint64_t id, std::int64_t blocks);
  void write_all(std::uint64_t id, std::int64_t blocks, bool shared_only);

  struct Place {
    std::shared_ptr<KvTier> tier;
    bool shared;
  };
  std::vector<Place> tiers_;  ///< the nearest first
  KvWrites writes_;
  std::vector<KvTierCounts> counts_;
};

}  // namespace orrery
