#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/kv_group.hpp"

namespace orrery {

/// `count` groups of layers alike, each with a block table of its own: a block of any group has the same
/// bytes, so that one pool serves all (vLLM v1's hybrid KV cache manager). A group keeps of a sequence what
/// its cap says, or one block with the states after its last token.
struct KvBlockGroup {
  KeyCap cap;
  bool state = false;
  int count = 1;
  int block_size = 16;  ///< tokens

  bool full() const { return !state && cap.tokens == 0; }
  bool operator==(const KvBlockGroup&) const = default;
};

/// Blocks that one group keeps at most of a sequence on its way to `tokens` tokens, `chunk` of them new in a
/// step: all, or those of cap - 1 tokens before the chunk and one more, as a window need not begin with a
/// block (vLLM v1, kv_cache_interface.py: SlidingWindowSpec, ChunkedLocalAttentionSpec); one of a state.
inline std::int64_t most_blocks(const KvBlockGroup& group, Tokens tokens, Tokens chunk) {
  if (group.state) return 1;
  const auto whole = [&](Tokens n) { return (n + group.block_size - 1) / group.block_size; };
  if (group.full()) return whole(tokens);
  if (group.cap.wraps) return std::min(whole(tokens), whole(group.cap.tokens + chunk));
  return std::min(whole(tokens), whole(group.cap.tokens - 1 + chunk) + 1);
}

/// The same of all groups.
inline std::int64_t most_blocks(const std::vector<KvBlockGroup>& groups, Tokens tokens, Tokens chunk) {
  std::int64_t sum = 0;
  for (const KvBlockGroup& g : groups) sum += g.count * most_blocks(g, tokens, chunk);
  return sum;
}

/// How a model's layers share one pool of blocks.
struct KvBlocks {
  std::vector<KvBlockGroup> groups;  ///< full attention first, then caps, then states
  double block_bytes = 0;            ///< of one block of one group, on one rank
  double page_bytes = 0;             ///< of them, one layer's

  /// The smallest block, in tokens.
  int block_size() const;
  /// Bytes of one block of one group on a rank that holds only these of the layers (a pipeline stage): each
  /// kind's are spread evenly over its groups, so that the fullest one decides (kv_cache_utils.py:
  /// _get_kv_cache_groups_uniform_page_size). 0 = the layers keep nothing.
  double block_bytes_of(const std::vector<KvGroup>& layers) const;
};

/// The same layers as engines without groups treat them: all of attention keep everything.
std::vector<KvGroup> all_full(const std::vector<KvGroup>& groups);

/// Puts layers into groups as vLLM v1 does (kv_cache_utils.py, get_kv_cache_groups): all of one kind are one
/// group. Of several kinds each is cut into groups of as many layers as the rarest kind has, or as the most
/// frequent one if that has less than 1.5 times as many; the last group of a kind is padded. Kinds whose
/// layers keep fewer bytes a token get longer blocks, and attention beside states blocks of so many tokens
/// (a multiple of `block_size`) that a layer's block holds a layer's state. What does not divide is padded;
/// vLLM refuses it. `longest`: tokens of a block that holds nothing but states.
KvBlocks kv_blocks(const std::vector<KvGroup>& groups, int block_size, Tokens longest);

}  // namespace orrery
