#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

/// Merge of partial attention outputs over disjoint keys by their log-sum-exp: what ends a split over the
/// keys (Flash-Decoding; Dao et al., 2023), cascades and attention over several caches. Partials and
/// log-sum-exps in fp32, the merged rows in the activation format. dims: rows (queries x heads), splits,
/// head_dim.
extern const KernelClass kAttentionMerge;

}  // namespace orrery
