#pragma once

#include <cstdint>
#include <vector>

#include "component.hpp"

namespace orrery::kernels {

// The shapes of linear layers that GEMM components are measured on.

/// A weight matrix W[n,k] as one rank holds it.
struct WeightShape {
  std::int64_t n = 0, k = 0;
  bool operator==(const WeightShape&) const = default;
};

/// q k v, attention output, gate and up, down of dense decoders, each once, most wanted first: model by model
/// at tensor parallel 1, then 2, 4 and 8. With `vocabulary`, the output layer behind those of each model.
std::vector<WeightShape> model_weights(bool vocabulary);
/// Log-spaced matrices between them, for fits.
std::vector<WeightShape> filling_weights();

/// The numbers of rows (tokens in a step) to measure a matrix with: all of the ladder 1 to 8192 for the first
/// few matrices, every fourth after them, shifted from matrix to matrix, and an odd one; none above `most`.
std::vector<std::int64_t> token_counts(std::size_t matrix, std::int64_t most);

/// A GEMM's case: dims m, n, k.
Case gemm_case(std::int64_t m, WeightShape w, DType dtype, DType weight_dtype, const char* variant);

}  // namespace orrery::kernels
