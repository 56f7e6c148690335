#include "cost/kv_blocks.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace orrery {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// One kind of layer: what of it shares a block table.
struct Kind {
  KvBlockGroup group;
  int layers = 0;
  double layer_bytes = 0;  ///< of one layer: a token's, or a sequence's states
  double page() const { return group.state ? layer_bytes : layer_bytes * group.block_size; }
};

std::vector<Kind> kinds_of(const std::vector<KvGroup>& groups, int block_size, Tokens longest) {
  std::vector<Kind> kinds;
  for (const KvGroup& g : groups) {
    if (g.layers < 1) continue;
    const double tokens = g.bytes_per_token * g.kept.share / g.layers;
    if (tokens > 0) kinds.push_back({{g.kept.cap, false, 1, block_size}, g.layers, tokens});
    if (g.state_bytes > 0)
      kinds.push_back({{{}, true, 1, static_cast<int>(longest)}, g.layers, g.state_bytes / g.layers});
  }
  const auto rank = [](const Kind& k) { return k.group.state ? 2 : k.group.full() ? 0 : 1; };
  std::stable_sort(kinds.begin(), kinds.end(),
                   [&](const Kind& a, const Kind& b) { return rank(a) < rank(b); });
  return kinds;
}

/// A layer's block of attention becomes as large as its largest state, in whole multiples of the block size
/// asked for (vllm/model_executor/models/config.py: HybridAttentionMambaModelConfig).
void hold_states(std::vector<Kind>& kinds, int block_size) {
  double state = 0, token = 0;
  for (const Kind& k : kinds)
    (k.group.state ? state : token) = std::max(k.group.state ? state : token, k.layer_bytes);
  if (state == 0 || token == 0) return;
  const auto blocks = static_cast<int>(std::ceil(state / (token * block_size) - 1e-9));
  for (Kind& k : kinds) k.group.block_size = std::max(1, blocks) * block_size;
}

int layers_of_a_group(const std::vector<Kind>& kinds) {
  const auto fewer = [](const Kind& a, const Kind& b) { return a.layers < b.layers; };
  const int least = std::min_element(kinds.begin(), kinds.end(), fewer)->layers;
  const int most = std::max_element(kinds.begin(), kinds.end(), fewer)->layers;
  return most < 1.5 * least ? most : least;
}

}  // namespace

int KvBlocks::block_size() const {
  int least = 0;
  for (const KvBlockGroup& g : groups) least = least == 0 ? g.block_size : std::min(least, g.block_size);
  return least;
}

std::vector<KvGroup> all_full(const std::vector<KvGroup>& groups) {
  std::vector<KvGroup> out(1);
  for (const KvGroup& g : groups) {
    KvGroup kept = g;
    if (g.bytes_per_token > 0) {
      out.front().bytes_per_token += g.kept.share * g.bytes_per_token;
      out.front().layers += g.layers;
      kept.bytes_per_token = 0;
    }
    if (kept.state_bytes > 0) out.push_back(kept);
  }
  return out;
}

double KvBlocks::block_bytes_of(const std::vector<KvGroup>& layers) const {
  std::int64_t most = 0;
  for (const Kind& kind : kinds_of(layers, 1, 1)) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const KvBlockGroup& g) {
      return g.state == kind.group.state && g.cap == kind.group.cap;
    });
    ORRERY_CHECK(group != groups.end(), "a stage keeps what its model does not");
    most = std::max(most, divide_up(kind.layers, group->count));
  }
  return static_cast<double>(most) * page_bytes;
}

KvBlocks kv_blocks(const std::vector<KvGroup>& groups, int block_size, Tokens longest) {
  ORRERY_CHECK(block_size >= 1, "blocks of no tokens");
  auto kinds = kinds_of(groups, block_size, longest);
  KvBlocks out;
  if (kinds.empty()) return out;
  hold_states(kinds, block_size);
  double page = 0;
  for (const Kind& k : kinds) page = std::max(page, k.page());
  const int layers = layers_of_a_group(kinds);
  for (Kind& k : kinds) {
    if (!k.group.state) k.group.block_size *= static_cast<int>(page / k.page() + 1e-9);
    k.group.count = static_cast<int>(divide_up(k.layers, layers));
    out.groups.push_back(k.group);
  }
  out.page_bytes = page;
  out.block_bytes = layers * page;
  return out;
}

}  // namespace orrery
