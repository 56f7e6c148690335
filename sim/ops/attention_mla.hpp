#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

/// Decode of multi-head latent attention in absorbed form (DeepSeek-V2, 2024, section 2.1): one query per
/// sequence and head, [latent + rope] wide, against one cached row per token, [latent] of it the value too;
/// output [heads, latent]. The projections around it (W_UK absorbed into q, W_UV after) are GEMMs of their
/// own. dims: seqs, context (KV tokens read, sum), heads (of this rank), latent, rope.
extern const KernelClass kAttentionMlaDecode;

}  // namespace orrery
