#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Which of a head's vectors a key is nearest to: the largest of key . vector - offset (with half the squared
/// lengths of centroids as offsets the nearest centroid; k-means), or, `opposites`, of key . vector and its
/// negative, which are buckets `vectors` further on (LSH; Kitaev et al., Reformer, 2020, section 2: argmax of
/// [xR; -xR]). The lowest of equal buckets.
struct AssignBucketsArgs {
  const bf16* keys = nullptr;                                 ///< [tokens, heads, head_dim]
  const bf16* vectors = nullptr;                              ///< [heads, vector_count, head_dim]
  const float* offsets = nullptr;                             ///< [heads, vector_count]; nullptr: none
  std::int32_t* buckets = nullptr;                            ///< out [heads, tokens]
  int tokens = 0, heads = 0, head_dim = 0, vector_count = 0;  ///< head_dim 64, 128 or 256
  bool opposites = false;
};
void assign_buckets(const AssignBucketsArgs& args, StreamRef stream);
/// Shared memory of a block, which a device must offer.
std::size_t assign_buckets_shared_bytes(int head_dim);

inline constexpr int kMaxBuckets = 1 << 18;

/// Tokens sorted by bucket for each head, those of one bucket in their order. Nine bits at a time: two
/// launches for up to 512 buckets, four beyond.
struct SortByBucketArgs {
  const std::int32_t* buckets = nullptr;        ///< [heads, tokens]
  std::int32_t* order = nullptr;                ///< out [heads, tokens]: tokens in the order of buckets
  std::int32_t* sorted = nullptr;               ///< out [heads, tokens]: their buckets
  std::int32_t* workspace = nullptr;            ///< sort_by_bucket_workspace() ints
  int tokens = 0, heads = 0, bucket_count = 0;  ///< buckets up to kMaxBuckets
};
void sort_by_bucket(const SortByBucketArgs& args, StreamRef stream);
std::size_t sort_by_bucket_workspace(int tokens, int heads, int bucket_count);

}  // namespace orrery::kernels
