#include "ops/chosen_tokens.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

void ChosenTokens::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  BatchShape chosen;
  if (phase_ == Phase::decode) {
    chosen.decode_seqs = batch.decode_seqs, chosen.decode_queries = batch.decode_queries;
    chosen.decode_context = batch.decode_context;
  } else {
    for (const PrefillChunk& chunk : batch.chunks) {
      if (chunk.new_tokens == 0) continue;
      const auto seen = static_cast<double>(chunk.past + chunk.new_tokens);
      const double kept = static_cast<double>(select_.budget) + select_.fraction * seen;
      const double rows = static_cast<double>(chunk.new_tokens) * std::min(1.0, kept / seen);
      chosen.chunks.push_back({std::max<Tokens>(1, std::llround(rows)), chunk.past});
    }
  }
  if (chosen.tokens() > 0) op_->lower(chosen, ctx, out);
}

}  // namespace orrery
