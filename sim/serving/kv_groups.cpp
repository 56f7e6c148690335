#include "serving/kv_groups.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

KvGroups::KvGroups(const KvConfig& config) : groups_(config.groups) {
  if (config.block_size < 1) throw ConfigError("block_size must be at least 1");
  if (groups_.empty()) groups_.push_back({{}, false, 1, config.block_size});
  int attention = 0;  // tokens of a block
  for (const KvBlockGroup& g : groups_) {
    ORRERY_CHECK(g.count >= 1 && g.block_size >= 1, "a KV group without layers or of empty blocks");
    if (g.state) {
      states_ += g.count;
      continue;
    }
    if (g.full()) full_ += g.count;
    if (attention != 0 && attention != g.block_size) even_ = false;
    attention = g.block_size;
    if (g.cap.wraps && g.cap.tokens % g.block_size != 0) {
      throw ConfigError(fmt::format("block_size {} does not divide the attention chunk of {} tokens",
                                    g.block_size, g.cap.tokens),
                        "give a divisor of the chunk, as 16 usually is");
    }
  }
}

std::int64_t KvGroups::held(Tokens tokens) const {
  return needed(0, tokens) - dropped(0, tokens);
}

std::int64_t KvGroups::held_in_full(Tokens tokens) const {
  std::int64_t sum = 0;
  for (const KvBlockGroup& g : groups_) {
    if (g.full()) sum += g.count * taken(g, tokens);
  }
  return sum;
}

std::int64_t KvGroups::dropped(Tokens before, Tokens after) const {
  std::int64_t sum = 0;
  for (const KvBlockGroup& g : groups_) sum += g.count * (dropped(g, after) - dropped(g, before));
  return sum;
}

}  // namespace orrery
