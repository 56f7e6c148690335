#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "serving/block_ids.hpp"
#include "serving/config.hpp"
#include "serving/kv_groups.hpp"
#include "serving/kv_tiers.hpp"
#include "serving/sequence.hpp"

namespace orrery {

/// The block pool of one engine core with vLLM's prefix cache: one eviction order for everything that is
/// free, identities only where a trace gives them. Which physical blocks these are is known only with
/// KvConfig::block_ids; every count and every decision is the same without.
///
/// Blocks of a known prefix are kept as *units* (one per PrefixKeys id): so many leading blocks of the unit
/// are cached, and so many sequences reference it. Blocks without identity are counts. Free blocks lie in one
/// queue, least recently freed first; a freed sequence enters it last block first, so that its tail is
/// evicted before its head (vLLM v1, kv_cache_manager: free() in reverse order, LRU from the head). A block
/// keeps its identity until it is taken again.
///
/// Groups of layers with caps (KvConfig::groups) take their blocks from the same pool and give back those
/// behind the cap, which stay cached like others: a prefix is hit where every group still has what the next
/// token attends to (kv_cache_coordinator.py, find_longest_cache_hit). Their named blocks are units of one
/// block in each of the groups with that cap. Nothing is cached for a model with states, as in vLLM unless
/// asked otherwise, nor where blocks differ in length or several groups keep everything.
class KvCache {
 public:
  /// Errors: ConfigError for a pool of no blocks, and as KvGroups.
  explicit KvCache(const KvConfig& config);

  int block_size() const { return block_size_; }
  std::int64_t total_blocks() const { return total_; }  ///< usable: one is reserved as the null block
  std::int64_t free_blocks() const { return free_; }
  std::int64_t used_blocks() const { return total_ - free_; }
  /// Blocks that sequences hold, one that several share counted for each. Only for groups().plain().
  std::int64_t held_blocks() const { return held_; }
  /// Cached blocks that were taken for something else, since the beginning.
  std::int64_t evicted_blocks() const { return evicted_; }
  /// Blocks of one group that hold `tokens` tokens.
  std::int64_t blocks_for(Tokens tokens) const { return (tokens + block_size_ - 1) / block_size_; }
  const KvGroups& groups() const { return groups_; }

  /// What the cache holds of a sequence's first `target` tokens: full blocks only, and at most target - 1
  /// tokens, so that at least one is computed.
  struct Hit {
    Tokens tokens = 0;
    std::int64_t free_blocks = 0;  ///< of them, blocks that are now free and would be taken out of the queue
  };
  Hit lookup(const Sequence& seq) const;
  /// Of a request's prompt, in the tiers below as well.
  Tokens cached_tokens(const Request& request) const;

  /// References the hit and takes blocks for tokens [hit.tokens, tokens). The caller has checked that they
  /// are free.
  void admit(Sequence& seq, const Hit& hit, Tokens tokens);
  /// As admit(), but what the blocks of [hit.tokens, tokens) hold is yet to come: nobody hits them before
  /// fill().
  void reserve(Sequence& seq, const Hit& hit, Tokens tokens);
  /// It has come.
  void fill(Sequence& seq, Tokens before, Tokens after);
  /// Takes blocks for tokens [before, after) of a sequence's prompt and gives full ones their identity.
  void extend(Sequence& seq, Tokens before, Tokens after);
  /// The step that brought a prompt from `before` to `after` tokens is planned: gives back what it left
  /// behind the caps.
  void drop(Sequence& seq, Tokens before, Tokens after);
  /// Takes `blocks` for decoding sequences; whose they are follows from their lengths. Not with block ids.
  void take(std::int64_t blocks);
  /// Gives back `blocks` that decoding sequences left behind the caps, but for those cached: drop_cached().
  void give_back(std::int64_t blocks) {
    held_ -= blocks;
    enqueue_anonymous(blocks, {});
  }
  /// How many tokens a sequence stores when next it leaves cached blocks behind a cap; none = 0.
  Tokens next_cached_drop(const Sequence& seq) const;
  /// Gives back the cached blocks that a decoding sequence of `stored` tokens has left behind the caps.
  /// Returns how many pool blocks they were to it.
  std::int64_t drop_cached(Sequence& seq, Tokens stored);
  /// Takes `blocks` behind those that a decoding sequence, which has been admitted, has already.
  void grow(const Sequence& seq, std::int64_t blocks) {
    if (ids_) name_next(seq, blocks);
    held_ += blocks;
    pop(blocks);
  }
  /// Frees all blocks of a sequence that stores `tokens`. `resumable` (preemption) remembers them as its own,
  /// so that what is not evicted meanwhile is hit when it resumes.
  void release(Sequence& seq, Tokens tokens, bool resumable);

  // Tiers below the pool (kv_cache_tiers.cpp).

  /// None: null.
  const KvTiers* tiers() const { return tiers_ ? &*tiers_ : nullptr; }
  /// Full blocks of a sequence's first `target` tokens behind its hit that lie in them, target - 1 tokens at
  /// most with it.
  KvLoad stored(const Sequence& seq, const Hit& hit) const;
  /// They are read.
  void read(const KvLoad& load) { tiers_->read(load); }

  bool has_block_ids() const { return ids_.has_value(); }
  /// The physical blocks of a sequence in token order: token t lies in block table[t / block_size()]. Blocks
  /// are 1..total_blocks(); 0 is the null block. Valid until the sequence next takes or frees blocks.
  /// Requires KvConfig::block_ids.
  std::span<const std::int32_t> block_table(const Sequence& seq) const;

 private:
  static constexpr std::int32_t kNone = -1;
  /// An entry of the free queue, or a referenced unit outside it.
  struct Unit {
    std::uint64_t id = 0;
    std::int64_t blocks = 0;
    std::int32_t references = 0;
    bool has_id = false;
    bool queued = false;
    bool own = false;  ///< of a preempted sequence, not of a known prefix
    std::int32_t before = kNone, after = kNone;
  };

  /// The ids of a request regrouped so that each unit is a whole number of blocks.
  struct Units {
    const PrefixKeys* keys;
    std::size_t ids_per_unit, count;
    std::int64_t blocks_per_unit;
    std::int64_t named_blocks;  ///< full ones that the ids cover, of the prompt or with its answer
    std::uint64_t id(std::size_t i) const;
    std::int64_t end(std::size_t i) const;  ///< block after the unit's last full one
  };
  Units units_of(const Request& request) const;
  void make_tiers(const KvConfig& config);

  std::int32_t find(std::uint64_t id) const;
  std::int32_t make_unit(std::uint64_t id, bool has_id);
  void drop_unit(std::int32_t index);
  void enqueue(std::int32_t index);
  void unqueue(std::int32_t index);
  void enqueue_anonymous(std::int64_t blocks, std::span<const std::int32_t> ids);
  void pop(std::int64_t blocks);
  void name_next(const Sequence& seq, std::int64_t blocks);
  std::span<const std::int32_t> ids_of(const Sequence& seq, std::int64_t begin, std::int64_t end) const;
  void give_identities(Sequence& seq, Tokens before, Tokens after);
  static std::uint64_t own_id(const Request& request);
  Hit lookup_full(const Sequence& seq, std::int64_t limit) const;
  void admit_hit(Sequence& seq, const Hit& hit);
  void admit_full(Sequence& seq, std::int64_t wanted);
  void release_full(Sequence& seq, Tokens tokens, bool resumable);
  void release_units(Sequence& seq);

  // Groups with caps: kv_cache_windows.cpp. `w` counts them as KvHold::windows does.
  struct Window {
    KvBlockGroup group;
    std::uint64_t salt;  ///< keeps its ids apart from the other groups'
  };
  void find_windows();
  std::uint64_t window_id(const Units& units, std::int64_t block, std::size_t w) const;
  std::int32_t own_window(const Sequence& seq, std::size_t w) const;
  std::int32_t window_unit(const Units* units, std::int64_t block, std::size_t w) const;
  std::int64_t window_hit(const Sequence& seq, const Units* units, std::size_t w, std::int64_t blocks) const;
  std::int64_t windows_hit(const Sequence& seq, std::int64_t blocks) const;
  std::int64_t window_free_blocks(const Sequence& seq, std::int64_t blocks) const;
  void admit_windows(Sequence& seq, std::int64_t wanted);
  void give_window_identities(Sequence& seq, Tokens after);
  std::int64_t drop_units(WindowHold& hold, std::int64_t count, std::int64_t end);
  void release_windows(Sequence& seq, Tokens tokens, bool resumable);
  void dereference(std::int32_t index);

  KvGroups groups_;
  std::vector<Window> windows_;
  int block_size_;
  bool caching_;
  std::int64_t total_, free_;
  std::int64_t held_ = 0, evicted_ = 0;
  std::vector<Unit> units_;
  std::vector<std::int32_t> spare_;
  std::unordered_map<std::uint64_t, std::int32_t> by_id_;
  std::int32_t head_ = kNone, tail_ = kNone;
  std::optional<KvTiers> tiers_;
  std::int64_t tier_chunk_ = 1;  ///< blocks
  std::optional<BlockIds> ids_;  ///< none in the simulator, which needs counts only
};

}  // namespace orrery
