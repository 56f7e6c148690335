#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

/// Keys put into buckets and sorted by bucket, stably, for each head. A bucket is the nearest of `vectors`
/// vectors: centroids (ClusterKV; Liu et al., 2024; Routing Transformer, Roy et al., 2021), as many as there
/// are buckets, or random directions and their opposites (LSH of Reformer; Kitaev et al., 2020, section 2),
/// half as many. dims: tokens, buckets, vectors, head_dim, heads.
extern const KernelClass kClusterSort;

}  // namespace orrery
