#pragma once

#include <cstdint>

#include "ops/operator.hpp"

namespace orrery {

/// Rows of the vocabulary matrices on one rank: padded to a multiple of 64 (vLLM's
/// DEFAULT_VOCAB_PADDING_SIZE) and divided.
std::int64_t local_vocab(std::int64_t vocab, int ranks);

/// Lookup of the step's tokens in the vocabulary-parallel embedding (Megatron-LM, 2019, section 3): a row
/// read and written per token. Bytes of rows that live on another rank are counted as read here, as the
/// kernel writes zeros for them.
class Embedding final : public Operator {
 public:
  Embedding(std::int64_t vocab, std::int64_t hidden) : vocab_(vocab), hidden_(hidden) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override { return static_cast<double>(vocab_) * static_cast<double>(hidden_); }
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  std::int64_t vocab_, hidden_;
};

/// Logits of the scheduled rows: m = logit rows, n = this rank's part of the vocabulary, k = hidden. FLOPs
/// 2mnk. `tied`: the matrix is the embedding's, which then counts and stores it.
class LmHead final : public Operator {
 public:
  LmHead(std::int64_t vocab, std::int64_t hidden, bool tied) : vocab_(vocab), hidden_(hidden), tied_(tied) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  double matrix_bytes(const LoweringContext& ctx) const;
  std::int64_t vocab_, hidden_;
  bool tied_;
};

/// Softmax and choice over the whole vocabulary per row, as vLLM's sampler does: logits read in the
/// activation's format, cast to fp32 (written and read once); 5 operations per logit as in a softmax.
class Sampling final : public Operator {
 public:
  explicit Sampling(std::int64_t vocab) : vocab_(vocab) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::int64_t vocab_;
};

}  // namespace orrery
