#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// tokens[row] = index of the largest of logits [rows, vocab] (the lowest index among equals). vocab a
/// multiple of 8.
struct GreedyArgs {
  const bf16* logits = nullptr;
  std::int32_t* tokens = nullptr;
  void* workspace = nullptr;  ///< greedy_workspace_bytes(rows)
  std::int64_t rows = 0;
  int vocab = 0;
};
std::size_t greedy_workspace_bytes(std::int64_t rows);
void sample_greedy(const GreedyArgs& args, StreamRef stream);

/// tokens[row] drawn from softmax(logits / temperature) restricted to the `top_k` largest logits (0 = all;
/// equals of the last one stay) and, of those, to the fewest whose probabilities sum to `top_p`. The same
/// seed, step and row give the same token. vocab a multiple of 8.
struct SampleArgs {
  const bf16* logits = nullptr;
  std::int32_t* tokens = nullptr;
  std::int64_t rows = 0;
  int vocab = 0;
  float temperature = 1.0F;
  int top_k = 0;
  float top_p = 1.0F;
  std::uint64_t seed = 0, step = 0;
};
void sample_top(const SampleArgs& args, StreamRef stream);

/// probabilities [rows, vocab] = softmax(logits) in float. vocab a multiple of 8.
void softmax_rows(float* probabilities, const bf16* logits, std::int64_t rows, int vocab, StreamRef stream);

}  // namespace orrery::kernels
