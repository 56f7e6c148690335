#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

/// Scores of the KV blocks of each sequence for its decode query, by summaries of their keys, and the choice
/// of the best `selected` per sequence and KV head. Summaries: the mean of the keys (MoBA; Lu et al., 2025,
/// eq. 6) or a compressed key (NSA; Yuan et al., 2025, eq. 7-9), one vector; their least and greatest
/// elements (Quest; Tang et al., 2024, section 3.3), two. dims: seqs, blocks (summed over the sequences),
/// heads, kv_heads, head_dim, selected (blocks per sequence and KV head), vectors (per block).
extern const KernelClass kBlockSelect;

/// Decode attention over the selected blocks of a paged cache, others for each KV head. dims as
/// kAttentionDecode, context being the tokens read per KV head, summed over the sequences. `like` it.
extern const KernelClass kAttentionSelected;

}  // namespace orrery
