// Groups of layers that keep less than everything, against a pool of single blocks with a table per group and
// sequence, as vLLM v1's hybrid KV cache manager keeps them.
#include <deque>
#include <map>
#include <optional>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "serving/kv_cache.hpp"

using namespace orrery;

namespace {

constexpr int kBlock = 4;

/// One block table per group and sequence; blocks with and without a name; one queue of free ones.
class SingleBlocks {
 public:
  using Name = std::pair<std::uint64_t, std::int64_t>;  ///< (prefix id, -1), or (request, block) of its own

  SingleBlocks(std::int64_t total, const std::vector<KvBlockGroup>& kinds) : kinds_(kinds) {
    for (std::int64_t i = 0; i < total; ++i) free_.push_back(make({}, 0));
  }
  std::int64_t free() const { return std::ssize(free_); }

  /// The longest prefix of whole blocks of which every group has what the next token reads.
  std::int64_t hit(const Sequence& seq) const {
    for (std::int64_t end = (seq.target - 1) / kBlock; end > 0; --end) {
      bool all = true;
      for (std::size_t k = 0; k < kinds_.size() && all; ++k) {
        for (std::int64_t b = first_read(kinds_[k], end * kBlock) / kBlock; b < end && all; ++b)
          all = !cached(seq, k, b).empty();
      }
      if (all) return end;
    }
    return 0;
  }

  void admit(const Sequence& seq, std::int64_t hit_blocks, Tokens tokens) {
    auto& tables = tables_[seq.request.id];
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      tables.emplace_back(static_cast<std::size_t>(kinds_[k].count));
      for (std::int64_t b = 0; b < hit_blocks; ++b) {
        const bool read = b >= first_read(kinds_[k], hit_blocks * kBlock) / kBlock;
        const auto found = read ? cached(seq, k, b) : std::vector<int>();
        for (std::size_t g = 0; g < tables[k].size(); ++g) {
          tables[k][g].push_back(read ? found[g] : -1);
          if (!read) continue;
          if (blocks_[static_cast<std::size_t>(found[g])].users++ == 0)
            free_.erase(std::find(free_.begin(), free_.end(), found[g]));
          if (!named(seq, b)) forget(found[g]);
        }
      }
    }
    full_[seq.request.id] = hit_blocks;
    forget_own(seq.request.id);  // what it does not use any more
    extend(seq, tokens);
  }

  void extend(const Sequence& seq, Tokens tokens) {
    auto& tables = tables_.at(seq.request.id);
    for (auto& kind : tables) {
      for (auto& table : kind) {
        while (std::ssize(table) * kBlock < tokens) {
          const int block = free_.front();
          free_.pop_front();
          forget(block);
          blocks_[static_cast<std::size_t>(block)].users = 1;
          table.push_back(block);
        }
      }
    }
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      for (std::int64_t b = full_[seq.request.id]; b < tokens / kBlock && named(seq, b); ++b) {
        if (!cached(seq, k, b).empty()) continue;
        for (std::size_t g = 0; g < tables[k].size(); ++g) {
          if (const auto old = find(*named(seq, b), k, g)) forget(*old);
          name(tables[k][g][static_cast<std::size_t>(b)], *named(seq, b), k, g);
        }
      }
    }
    full_[seq.request.id] = tokens / kBlock;
  }

  /// Gives back what the token after the first `tokens` does not read: blocks of the prompt, then others.
  void drop(const Sequence& seq, Tokens tokens) {
    std::vector<int> others;
    auto& tables = tables_.at(seq.request.id);
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      for (std::int64_t b = first_read(kinds_[k], tokens) / kBlock - 1; b >= 0; --b) {
        for (auto& table : tables[k]) {
          const int block = std::exchange(table[static_cast<std::size_t>(b)], -1);
          if (block < 0) continue;
          if (named(seq, b)) {
            give(block);
          } else {
            others.push_back(block);
          }
        }
      }
    }
    for (const int block : others) give(block);
  }

  void release(const Sequence& seq, Tokens tokens, bool resumable) {
    auto& tables = tables_.at(seq.request.id);
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      for (std::int64_t b = std::ssize(tables[k][0]) - 1; b >= 0; --b) {
        for (std::size_t g = 0; g < tables[k].size(); ++g) {
          const int block = tables[k][g][static_cast<std::size_t>(b)];
          if (block < 0) continue;
          if (resumable && !named(seq, b) && b < tokens / kBlock)
            name(block, {static_cast<std::uint64_t>(seq.request.id), b}, k, g);
          give(block);
        }
      }
    }
    tables_.erase(seq.request.id);
  }

 private:
  struct Block {
    std::optional<Name> name;
    std::size_t kind = 0, group = 0;
    int users = 0;
  };

  static Tokens first_read(const KvBlockGroup& g, Tokens stored) {
    if (g.cap.tokens == 0) return 0;
    return g.cap.wraps ? stored / g.cap.tokens * g.cap.tokens
                       : std::max<Tokens>(0, stored + 1 - g.cap.tokens);
  }
  std::optional<Name> named(const Sequence& seq, std::int64_t b) const {
    if (!seq.request.prefix || (b + 1) * kBlock > seq.request.prompt_tokens) return {};
    return Name{seq.request.prefix->ids[static_cast<std::size_t>(b)], -1};
  }
  /// The blocks of all groups of a kind; none where one is missing.
  std::vector<int> cached(const Sequence& seq, std::size_t k, std::int64_t b) const {
    const Name name = named(seq, b).value_or(Name{static_cast<std::uint64_t>(seq.request.id), b});
    std::vector<int> out;
    for (std::size_t g = 0; g < static_cast<std::size_t>(kinds_[k].count); ++g) {
      if (const auto block = find(name, k, g)) out.push_back(*block);
    }
    return std::ssize(out) == kinds_[k].count ? out : std::vector<int>();
  }
  std::optional<int> find(const Name& name, std::size_t kind, std::size_t group) const {
    const auto it = by_name_.find({name, {kind, group}});
    return it == by_name_.end() ? std::optional<int>() : it->second;
  }
  int make(std::optional<Name> name, int users) {
    blocks_.push_back({name, 0, 0, users});
    return static_cast<int>(blocks_.size()) - 1;
  }
  void name(int block, const Name& name, std::size_t kind, std::size_t group) {
    Block& b = blocks_[static_cast<std::size_t>(block)];
    b.name = name, b.kind = kind, b.group = group;
    by_name_[{name, {kind, group}}] = block;
  }
  void forget(int block) {
    Block& b = blocks_[static_cast<std::size_t>(block)];
    if (b.name) by_name_.erase({*b.name, {b.kind, b.group}});
    b.name.reset();
  }
  void forget_own(RequestId id) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const auto& name = blocks_[i].name;
      if (name && name->second >= 0 && name->first == static_cast<std::uint64_t>(id)) {
        // Unused, they queue up behind the others once more, as what has lost its identity does.
        const auto it = std::find(free_.begin(), free_.end(), static_cast<int>(i));
        if (it != free_.end()) free_.erase(it), free_.push_back(static_cast<int>(i));
        forget(static_cast<int>(i));
      }
    }
  }
  void give(int block) {
    if (--blocks_[static_cast<std::size_t>(block)].users == 0) free_.push_back(block);
  }

  std::vector<KvBlockGroup> kinds_;
  std::vector<Block> blocks_;
  std::deque<int> free_;
  std::map<std::pair<Name, std::pair<std::size_t, std::size_t>>, int> by_name_;
  std::map<RequestId, std::vector<std::vector<std::vector<int>>>> tables_;
  std::map<RequestId, std::int64_t> full_;  ///< blocks that have been offered for caching
};

/// Random prompts that share beginnings, computed in chunks, decoded, preempted and resumed.
class Twins {
 public:
  Twins(std::uint64_t seed, std::vector<KvBlockGroup> kinds)
      : rng_(seed, "kv groups"),
        blocks_(rng_.uniform_int(60, 300)),
        cache_({blocks_ + 1, kBlock, true, false, kinds}),
        single_(blocks_, kinds) {}

  void step() {
    const auto live = std::ssize(live_);
    if (live == 0 || rng_.uniform() < 0.15) {
      admit(next_request());
    } else {
      const auto i = static_cast<std::size_t>(rng_.uniform_int(0, live - 1));
      rng_.uniform() < 0.93 ? proceed(i) : leave(i);
    }
    REQUIRE(cache_.free_blocks() == single_.free());
  }
  std::int64_t hits = 0, shorter_hits = 0, resumed_hits = 0;

 private:
  struct Live {
    Sequence seq;
    Tokens stored = 0;
  };

  Sequence next_request() {
    if (!preempted_.empty() && rng_.uniform() < 0.5) {
      Sequence seq = std::move(preempted_.back());
      preempted_.pop_back();
      return seq;
    }
    Sequence seq;
    seq.request.id = ++requests_;
    // Not whole blocks: nobody computes a block of his own that is cached already, for want of another token.
    seq.request.prompt_tokens =
        static_cast<std::int32_t>(rng_.uniform_int(0, 37) * kBlock + rng_.uniform_int(1, 3));
    seq.target = seq.request.prompt_tokens;
    if (rng_.uniform() < 0.8) {
      PrefixKeys keys;
      keys.block_tokens = kBlock;
      const std::uint64_t tree = 1000000 * static_cast<std::uint64_t>(rng_.uniform_int(1, 3));
      const std::int64_t shared = rng_.uniform_int(0, 40);
      for (std::int64_t b = 0; b * kBlock < seq.target; ++b) {
        const auto at = static_cast<std::uint64_t>(b);
        keys.ids.push_back(b < shared ? tree + at
                                      : 100000000 + static_cast<std::uint64_t>(requests_) * 1000 + at);
      }
      seq.request.prefix = std::make_shared<PrefixKeys>(std::move(keys));
    }
    return seq;
  }

  void admit(Sequence seq) {
    const auto hit = cache_.lookup(seq);
    REQUIRE(hit.tokens == single_.hit(seq) * kBlock);
    const Tokens tokens = std::min(seq.target, hit.tokens + rng_.uniform_int(1, 60));
    // As long as nobody else computes the same prompt, so that no block is there twice.
    if (cache_.groups().needed(hit.tokens, tokens) > cache_.free_blocks() - hit.free_blocks || shares(seq)) {
      if (seq.target > seq.request.prompt_tokens) preempted_.push_back(std::move(seq));
      return;
    }
    hits += hit.tokens;
    if (seq.target > seq.request.prompt_tokens) resumed_hits += hit.tokens;
    single_.admit(seq, hit.tokens / kBlock, tokens);
    cache_.admit(seq, hit, tokens);
    single_.drop(seq, tokens);
    cache_.drop(seq, hit.tokens, tokens);
    live_.push_back({std::move(seq), tokens});
  }

  bool shares(const Sequence& seq) const {
    for (const Live& l : live_) {
      if (seq.request.prefix && l.seq.request.prefix && l.stored < l.seq.request.prompt_tokens &&
          l.seq.request.prefix->ids.front() == seq.request.prefix->ids.front())
        return true;
    }
    return false;
  }

  void proceed(std::size_t i) {
    Live& l = live_[i];
    const Tokens before = l.stored;
    const bool decodes = before >= l.seq.target;
    const Tokens after = decodes ? before + 1 : std::min(l.seq.target, before + rng_.uniform_int(1, 60));
    if (cache_.groups().needed(before, after) > cache_.free_blocks()) return leave(i);
    single_.extend(l.seq, after);
    if (decodes) {
      cache_.take(cache_.groups().needed(before, after));
      const Tokens due = cache_.next_cached_drop(l.seq);
      const std::int64_t cached = cache_.drop_cached(l.seq, after);
      REQUIRE((due == after) == (cached > 0));
      cache_.give_back(cache_.groups().dropped(before, after) - cached);
    } else {
      cache_.extend(l.seq, before, after);
      cache_.drop(l.seq, before, after);
    }
    single_.drop(l.seq, after);
    l.stored = after;
  }

  void leave(std::size_t i) {
    Live l = std::move(live_[i]);
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
    const bool resumable = rng_.uniform() < 0.5 && l.stored > l.seq.target;
    single_.release(l.seq, l.stored, resumable);
    cache_.release(l.seq, l.stored, resumable);
    if (!resumable) return;
    l.seq.target = l.stored + 1;
    preempted_.push_back(std::move(l.seq));
  }

  Rng rng_;
  std::int64_t blocks_;
  KvCache cache_;
  SingleBlocks single_;
  std::vector<Live> live_;
  std::vector<Sequence> preempted_;
  RequestId requests_ = 0;
};

}  // namespace

TEST_CASE("do counts and hits of KV groups equal those of single blocks with a table for each group?") {
  const std::vector<std::vector<KvBlockGroup>> models = {
      {{{}, false, 1, kBlock}},
      {{{}, false, 1, kBlock}, {10, false, 1, kBlock}},
      {{{}, false, 1, kBlock}, {16, false, 2, kBlock}, {{32, true}, false, 3, kBlock}},
      {{1, false, 1, kBlock}},
      {{40, false, 1, kBlock}},
  };
  std::int64_t hits = 0, resumed = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    INFO("seed " << seed);
    Twins twins(seed, models[seed % models.size()]);
    for (int i = 0; i < 1500; ++i) twins.step();
    hits += twins.hits, resumed += twins.resumed_hits;
  }
  CHECK(hits > 10000);
  CHECK(resumed > 1000);
}

// A window of 128 tokens is what the last 8 blocks of 16 hold, or 9 when it begins within one.
TEST_CASE("how many blocks does a sequence hold in a window, a chunk, and of states?") {
  KvConfig config{1000, 16};
  config.groups = {{{}, false, 1, 16}, {128, false, 1, 16}};
  const KvGroups window(config);
  CHECK(window.held(100) == 7 + 7);
  CHECK(window.held(128) == 8 + 8);
  CHECK(window.held(129) == 9 + 9);
  CHECK(window.held(143) == 9 + 8);  // the next token reads from the 17th on
  CHECK(window.held(131072) == 8192 + 8);
  CHECK(window.most(131072, 2048) == 8192 + (127 + 2048 + 15) / 16 + 1);
  config.groups = {{{8192, true}, false, 3, 16}};
  const KvGroups chunked(config);
  CHECK(chunked.held(8191) == 3 * 512);
  CHECK(chunked.held(8192) == 0);
  CHECK(chunked.held(8193) == 3);
  config.groups = {{{}, false, 1, 16}, {{}, true, 7, 4096}};
  const KvGroups jamba(config);
  CHECK(jamba.held(1) == 1 + 7);
  CHECK(jamba.held(1600) == 100 + 7);
  CHECK(jamba.needed(1600, 1601) == 1);
}

TEST_CASE("is a block that does not divide the attention's chunk refused?") {
  KvConfig config{1000, 48};
  config.groups = {{{8192, true}, false, 1, 48}};
  CHECK_THROWS_AS(KvGroups(config), ConfigError);
}

TEST_CASE("is nothing cached for a model with states?") {
  KvConfig config{1000, 16};
  config.groups = {{{}, false, 1, 16}, {{}, true, 1, 4096}};
  KvCache kv(config);
  Sequence a, b;
  for (Sequence* s : {&a, &b}) {
    s->request.prompt_tokens = 128, s->target = 128;
    s->request.prefix = std::make_shared<PrefixKeys>(PrefixKeys{{1, 2}, 64});
  }
  kv.admit(a, kv.lookup(a), 128);
  CHECK(kv.used_blocks() == 9);
  CHECK(kv.lookup(b).tokens == 0);
  kv.release(a, 128, true);
  CHECK(kv.used_blocks() == 0);
}
