#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "component.hpp"
#include "ops/elementwise.hpp"

namespace orrery::kernels {

// Cases of row-wise kernels: all have the dimensions tokens and bytes_per_token; the width in elements, which
// the instance needs, is the option "width".

inline Case row_case(const KernelClass& cls, std::string variant, std::int64_t tokens, std::int64_t width,
                     std::int64_t bytes_per_token) {
  Case c;
  c.call = make_call(cls, {static_cast<double>(tokens), static_cast<double>(bytes_per_token)}, DType::bf16,
                     DType::bf16);
  c.variant = std::move(variant);
  c.with["width"] = width;
  return c;
}
inline std::int64_t tokens_of(const Case& c) {
  return static_cast<std::int64_t>(c.call.dims[0]);
}
inline int width_of(const Case& c) {
  return static_cast<int>(c.option("width", 0));
}

/// Token counts to measure: decode batches, chunks and prompts in turn, so that a budget that ends early has
/// seen both ends.
inline const std::vector<std::int64_t>& row_token_counts() {
  static const std::vector<std::int64_t> counts{1,   128,  2048, 16,   8192, 64, 512,  4,
                                                256, 1024, 32,   4096, 8,    2,  16384};
  return counts;
}

}  // namespace orrery::kernels
