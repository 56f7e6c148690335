#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

struct AttentionMergeArgs {
  const float* partial = nullptr;  ///< [rows, splits, dim], each normalised by its own softmax sum
  const float* lse = nullptr;  ///< [rows, splits] natural log of those sums; -inf: a split without keys, its
                               ///< partial is not read
  bf16* out = nullptr;         ///< [rows, dim]; zeros where no split has keys
  std::int64_t rows = 0;
  int splits = 0, dim = 0;  ///< splits at most kMaxSplits, dim a multiple of 4 up to 1024
};
void attention_merge(const AttentionMergeArgs& args, StreamRef stream);

/// Floats of a workspace for partials and log-sum-exps of `rows` rows in `splits` parts; none for one part.
constexpr std::size_t merge_workspace_floats(std::int64_t rows, int splits, int dim) {
  return splits == 1 ? 0 : static_cast<std::size_t>(rows) * static_cast<std::size_t>(splits * (dim + 1));
}

}  // namespace orrery::kernels
