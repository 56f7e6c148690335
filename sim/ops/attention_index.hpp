#pragma once

#include <utility>
#include <vector>

#include "ops/attention_pattern.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// Scores of keys, or of summaries of blocks of them, for prompt queries (one by one or pooled), and the
/// choice of the best: 2 dim per head and scored pair on the matrix units, a weighting and a comparison on
/// the ordinary ones. dims: queries, pairs, keys, heads, key_heads, head_dim, selected (per query and key
/// head). dtype: of the index's arithmetic, weight_dtype: of its keys.
extern const KernelClass kIndexScore;
/// The same for one query per sequence over all its keys (DeepSeek-V3.2's indexer, 2025, eq. 1). dims: seqs,
/// context, heads, key_heads, head_dim, selected.
extern const KernelClass kIndexScoreDecode;
/// Summaries of keys and of values (KeySummaries): per summary and head 2 length head_dim operations for each
/// (weighted), or 2 length head_dim^2 (mapped: `inner` = head_dim, else 1). dims: tokens, kv_heads, head_dim,
/// stride, length, inner.
extern const KernelClass kKeySummary;

/// Heads on one rank of the attention that an index serves.
struct IndexedHeads {
  double heads = 0, kv_heads = 0, head_dim = 0;
};

/// Appends what it takes to choose the keys of prompt chunks, and to make summaries of them. Chunks whose
/// context the pattern covers need none.
void push_prefill_index(const AttentionPattern& pattern, const IndexedHeads& heads, const BatchShape& batch,
                        const LoweringContext& ctx, KernelCalls& out);
/// The same for the decode set.
void push_decode_index(const AttentionPattern& pattern, const IndexedHeads& heads, const BatchShape& batch,
                       const LoweringContext& ctx, KernelCalls& out);
/// Bytes an index keeps of one token: its keys (with a scale of 4 bytes where they have 8 bits) or the
/// summaries of its blocks.
double index_bytes_per_token(const AttentionPattern& pattern, const IndexedHeads& heads,
                             const LoweringContext& ctx);

/// The index of a mixer that is not PrefillAttention and DecodeAttention (those run their own): of prompts
/// (Scaling prefill), or of the decode set (Scaling decode), which also owns what it keeps.
class KeyIndexing final : public Operator {
 public:
  KeyIndexing(AttentionPattern pattern, IndexedHeads local_heads, Phase phase)
      : pattern_(pattern), heads_(local_heads), phase_(phase) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double state_bytes(Tokens context, const LoweringContext& ctx) const override;

 private:
  AttentionPattern pattern_;
  IndexedHeads heads_;
  Phase phase_;
};

/// The projections of a learned indexer: queries from their latent (from the hidden state when `query_latent`
/// is 0), a weight per head, and one key, unless it chooses among summaries. Whole on every rank.
std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> index_projections(const KeySelection& select,
                                                                            std::int64_t hidden,
                                                                            std::int64_t query_latent);
/// Those of gated summaries `dim` wide (SummaryForm::gated): a row and a gate for each summary a token is
/// part of; a bias by position in it and a norm of the result. Whole on every rank.
std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> summary_projections(const KeySummaries& summaries,
                                                                              std::int64_t hidden,
                                                                              std::int64_t dim);

/// All of a learned indexer beside latent attention (DeepSeek-V3.2, 2025, section 2.1): its projections of
/// queries from their latent (from the hidden state when `query_latent` is 0), of one key and of a weight per
/// head from the hidden state, its scores and the cache of its keys. Whole on every rank of a tensor-parallel
/// group.
std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> index_operators(const KeySelection& select,
                                                                          std::int64_t hidden,
                                                                          std::int64_t query_latent);

}  // namespace orrery
