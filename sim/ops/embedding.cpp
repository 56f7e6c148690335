#include "ops/elementwise.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

std::int64_t local_vocab(std::int64_t vocab, int ranks) {
  const std::int64_t padded = (vocab + 63) / 64 * 64;
  return (padded + ranks - 1) / ranks;
}

void Embedding::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto width = static_cast<double>(hidden_);
  push_elementwise(
      kEmbedding, "embedding", batch, ctx,
      {width * bytes_per_element(ctx.precision.lm_head), width * bytes_per_element(ctx.precision.activation)},
      out);
}

double Embedding::weight_bytes(const LoweringContext& ctx) const {
  return static_cast<double>(local_vocab(vocab_, ctx.shard.tp)) * static_cast<double>(hidden_) *
         bytes_per_element(ctx.precision.lm_head) / ctx.precision.embedding_factor;
}

}  // namespace orrery
