#include "ops/attention_index.hpp"

#include <algorithm>
#include <cmath>

#include "base/registry.hpp"
#include "ops/block_select.hpp"
#include "ops/cluster_sort.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/other_parameters.hpp"

namespace orrery {

namespace {

Work score_work(double queries, double pairs, double keys, const double* rest, DType dtype, DType key_dtype) {
  const double heads = rest[0], key_heads = rest[1], dim = rest[2], selected = rest[3];
  Work w;
  w.tensor_flops = 2 * pairs * heads * dim;
  w.tensor_dtype = dtype;
  w.vector_flops = pairs * (2 * heads + key_heads);
  const double scores = pairs * key_heads * bytes_per_element(DType::fp32);
  w.hbm_read_bytes = queries * heads * dim * bytes_per_element(dtype) +
                     keys * key_heads * dim * bytes_per_element(key_dtype) + scores;
  w.hbm_write_bytes = scores + queries * key_heads * selected * 4;
  return w;
}

Work prefill_work(const KernelClass::Dims& dims, DType dtype, DType key_dtype) {
  return score_work(dims[0], dims[1], dims[2], &dims[3], dtype, key_dtype);
}

Work decode_work(const KernelClass::Dims& dims, DType dtype, DType key_dtype) {
  return score_work(dims[0], dims[1], dims[1], &dims[2], dtype, key_dtype);
}

/// K and V are read over once per summary they are part of; a map is read once for K and once for V.
Work summary_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double heads = dims[1], dim = dims[2], stride = dims[3], length = dims[4], inner = dims[5];
  const double summaries = dims[0] / stride, element = bytes_per_element(dtype);
  Work w;
  w.tensor_flops = 2 * summaries * heads * 2 * length * dim * inner;
  w.tensor_dtype = dtype;
  w.weight_bytes = 2 * length * inner * (inner > 1 ? dim : 1) * element;
  w.hbm_read_bytes = summaries * heads * 2 * length * dim * element + w.weight_bytes;
  w.hbm_write_bytes = summaries * heads * 2 * dim * element;
  return w;
}

constexpr std::string_view kRole = "attention_index";

}  // namespace

constexpr KernelClass kIndexScore{"index_score",
                                  KernelClass::Scaling::prefill,
                                  {"queries", "pairs", "keys", "heads", "key_heads", "head_dim", "selected"},
                                  "scores of keys for prompt queries and the choice of the best",
                                  prefill_work};
constexpr KernelClass kIndexScoreDecode{"index_score_decode",
                                        KernelClass::Scaling::decode,
                                        {"seqs", "context", "heads", "key_heads", "head_dim", "selected"},
                                        "scores of all keys for one query per sequence, the best chosen",
                                        decode_work};
constexpr KernelClass kKeySummary{"key_summary",
                                  KernelClass::Scaling::prefill,
                                  {"tokens", "kv_heads", "head_dim", "stride", "length", "inner"},
                                  "summaries of several tokens' keys and values",
                                  summary_work};

namespace {

/// Heads, key heads and width of the index itself. An indexer's heads are on every rank; its keys have one.
IndexedHeads index_heads(const KeySelection& s, const IndexedHeads& attention) {
  IndexedHeads own = attention;
  if (s.index_heads > 0) own.heads = static_cast<double>(s.index_heads);
  if (s.index_dim > 0) own.head_dim = static_cast<double>(s.index_dim);
  if (s.index == KeyIndex::indexer) own.kv_heads = 1;
  own.kv_heads = std::min(own.kv_heads, own.heads);
  return own;
}

/// Vectors that a key is compared with to find its bucket. A hash is factorised: 2 sqrt(buckets) values,
/// half of them rotations, whose opposites are the rest (Kitaev et al., Reformer, 2020, section 2).
double bucket_vectors(const KeySelection& s, double keys) {
  if (s.index == KeyIndex::centroids) return static_cast<double>(s.buckets);
  const double buckets =
      s.buckets > 0 ? static_cast<double>(s.buckets) : std::max(1.0, keys / static_cast<double>(s.block));
  return std::sqrt(buckets) * static_cast<double>(s.hashes);
}

void push_summaries(const AttentionPattern& p, const IndexedHeads& heads, double tokens,
                    const LoweringContext& ctx, KernelCalls& out) {
  if (!p.summaries || tokens == 0) return;
  const KeySummaries& s = *p.summaries;
  // Summaries of the whole sequence: every token goes into each of them.
  const double stride = s.stride > 0 ? static_cast<double>(s.stride) : 1;
  const double length = s.stride == 0  ? static_cast<double>(s.count)
                        : s.length > 0 ? static_cast<double>(s.length)
                                       : stride;
  const double inner = s.form == SummaryForm::mapped ? heads.head_dim : 1;
  const DType dtype = ctx.precision.activation;
  out.push_back(
      make_call(kKeySummary, {tokens, heads.kv_heads, heads.head_dim, stride, length, inner}, dtype, dtype));
  out.back().role = "key_summary";
}

/// Tokens to each thing that is scored: a summary, or a block.
double tokens_each(const AttentionPattern& p) {
  return static_cast<double>(p.select->summaries ? p.summaries->stride : p.select->block);
}

double selected_blocks(const KeySelection& s, double context) {
  return (static_cast<double>(s.budget) + s.fraction * context) / static_cast<double>(s.block);
}

}  // namespace

void push_prefill_index(const AttentionPattern& p, const IndexedHeads& heads, const BatchShape& batch,
                        const LoweringContext& ctx, KernelCalls& out) {
  const bool here = p.holds(Phase::prefill);
  const ChunksOnRank chunks(batch, ctx.shard);
  double own = 0;
  for (const PrefillChunk& chunk : chunks) own += static_cast<double>(chunk.new_tokens);
  if (here) push_summaries(p, heads, own, ctx, out);
  // A cache that evicts by past attention has to know the prompt's.
  const bool scored_first = p.holds(Phase::decode) && p.select && p.select->index == KeyIndex::scores;
  if (!p.select || p.select->index == KeyIndex::none || !(here || scored_first)) return;
  const KeySelection& s = *p.select;
  const IndexedHeads index = index_heads(s, heads);
  AttentionPattern all;
  all.causal = p.causal;
  double queries = 0, pairs = 0, keys = 0, tokens = 0, longest = 0;
  for (const PrefillChunk& chunk : chunks) {
    const Tokens n = chunk.past + chunk.new_tokens;
    if (chunk.new_tokens == 0 || p.covers(n)) continue;
    if (s.summaries && n <= s.budget * p.summaries->stride) continue;
    const auto m = static_cast<double>(chunk.new_tokens), context = static_cast<double>(n);
    const double probed = s.probe_queries > 0 ? std::min(m, static_cast<double>(s.probe_queries)) : m;
    const double pooled = tokens_each(p) * static_cast<double>(s.query_block);
    tokens += m;
    longest = std::max(longest, context);
    queries += probed / static_cast<double>(s.query_block);
    keys += context / tokens_each(p);
    pairs += (probed < m ? probed * context : all.pairs(chunk)) / pooled;
  }
  if (tokens == 0) return;
  const DType arithmetic = s.index_dtype;
  switch (s.index) {
    case KeyIndex::hash:
    case KeyIndex::centroids: {
      const double vectors = bucket_vectors(s, longest);
      out.push_back(make_call(kClusterSort, {tokens, vectors, vectors, index.head_dim, index.heads},
                              arithmetic, arithmetic));
      break;
    }
    case KeyIndex::router:  // one score per token and head, of the token's own vector
      out.push_back(make_call(kIndexScore, {tokens, tokens, 0, index.heads, index.heads, index.head_dim, 0},
                              arithmetic, arithmetic));
      break;
    default: {
      const auto vectors = static_cast<double>(s.vectors);
      out.push_back(make_call(kIndexScore,
                              {queries, pairs * vectors, keys * vectors, index.heads, index.kv_heads,
                               index.head_dim, selected_blocks(s, longest)},
                              arithmetic, arithmetic));
    }
  }
  out.back().role = kRole;
}

void push_decode_index(const AttentionPattern& p, const IndexedHeads& heads, const BatchShape& batch,
                       const LoweringContext& ctx, KernelCalls& out) {
  if (!p.holds(Phase::decode)) return;
  const auto seqs = static_cast<double>(batch.decode_seqs * batch.decode_queries);
  push_summaries(p, heads, seqs, ctx, out);
  if (!p.select || p.select->index == KeyIndex::none) return;
  const KeySelection& s = *p.select;
  const IndexedHeads index = index_heads(s, heads);
  const auto queries = static_cast<double>(batch.decode_queries);
  const auto context = static_cast<double>(batch.decode_context);
  const double chosen = selected_blocks(s, context / static_cast<double>(batch.decode_seqs));
  const double wide = index.heads * queries;  // queries of a sequence share its keys
  const auto select = [&](double blocks) {
    const auto vectors = static_cast<double>(s.vectors);
    out.push_back(make_call(kBlockSelect,
                            {seqs / queries, blocks, wide, index.kv_heads, index.head_dim, chosen, vectors},
                            s.index_dtype, s.index_dtype));
  };
  switch (s.index) {
    case KeyIndex::indexer:
      out.push_back(
          make_call(kIndexScoreDecode,
                    {seqs / queries, context / tokens_each(p), wide, index.kv_heads, index.head_dim, chosen},
                    s.index_dtype, s.index_dtype));
      break;
    case KeyIndex::blocks:
      select(context / tokens_each(p));
      break;
    case KeyIndex::centroids:
    case KeyIndex::hash:  // the query's own bucket; how many there are does not depend on the set's contexts
      select(seqs * bucket_vectors(s, static_cast<double>(s.budget)));
      break;
    case KeyIndex::router:
      select(seqs);
      break;
    default: {  // the kept keys' scores in fp32: read, added to, compared, written
      const double kept = seqs * static_cast<double>(p.globals + p.window + s.budget) + s.fraction * context;
      KernelCall call = make_call(kElementwise, {kept, 8 * index.heads}, DType::fp32, DType::fp32);
      call.work.vector_flops = 2 * kept * index.heads;
      call.work.hbm_read_bytes = call.work.hbm_write_bytes = 4 * kept * index.heads;
      out.push_back(call);
    }
  }
  out.back().role = kRole;
}

double index_bytes_per_token(const AttentionPattern& p, const IndexedHeads& heads, const LoweringContext&) {
  if (!p.select || !p.holds(Phase::decode)) return 0;
  const KeySelection& s = *p.select;
  const IndexedHeads index = index_heads(s, heads);
  const double element = bytes_per_element(s.index_dtype);
  if (s.index == KeyIndex::indexer)
    return (index.head_dim * element + (element == 1 ? 4 : 0)) / tokens_each(p);
  if (s.index != KeyIndex::blocks || s.block == 1 || s.summaries) return 0;
  return static_cast<double>(s.vectors) * index.kv_heads * index.head_dim * element /
         static_cast<double>(s.block);
}

void KeyIndexing::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (phase_ == Phase::prefill) push_prefill_index(pattern_, heads_, batch, ctx, out);
  if (phase_ == Phase::decode && batch.decode_seqs > 0) push_decode_index(pattern_, heads_, batch, ctx, out);
}

double KeyIndexing::state_bytes(Tokens context, const LoweringContext& ctx) const {
  if (phase_ != Phase::decode) return 0;
  return static_cast<double>(context) * index_bytes_per_token(pattern_, heads_, ctx);
}

std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> index_projections(const KeySelection& select,
                                                                            std::int64_t hidden,
                                                                            std::int64_t query_latent) {
  using enum KernelClass::Scaling;
  const auto whole = [](std::int64_t width) { return std::vector<UnitGroup>{{1, width}}; };
  const auto linear = [&](std::string_view role, std::int64_t in, std::int64_t out) {
    return std::make_shared<Linear>(role, whole(in), whole(out), TensorSplit::columns, false, Module::mixer);
  };
  const std::int64_t input = query_latent > 0 ? query_latent : hidden;
  std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> out{
      {linear("index_q_proj", input, select.index_heads * select.index_dim), tokens},
      {linear("index_weights_proj", hidden, select.index_heads), tokens}};
  if (!select.summaries) out.emplace_back(linear("index_k_proj", hidden, select.index_dim), tokens);
  return out;
}

std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> summary_projections(const KeySummaries& summaries,
                                                                              std::int64_t hidden,
                                                                              std::int64_t dim) {
  const std::int64_t parts = summaries.length > 0
                                 ? (summaries.length + summaries.stride - 1) / summaries.stride
                                 : 1;  // summaries that a token is part of
  const std::vector<UnitGroup> input{{1, hidden}}, rows{{1, 2 * parts * dim}};
  return {{std::make_shared<Linear>("summary_proj", input, rows, TensorSplit::columns, false, Module::mixer),
           KernelClass::Scaling::tokens},
          {std::make_shared<OtherParameters>(summaries.stride * parts * dim + dim),
           KernelClass::Scaling::tokens}};
}

std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> index_operators(const KeySelection& select,
                                                                          std::int64_t hidden,
                                                                          std::int64_t query_latent) {
  AttentionPattern pattern;
  pattern.select = select;
  const IndexedHeads heads{static_cast<double>(select.index_heads), 1, static_cast<double>(select.index_dim)};
  auto out = index_projections(select, hidden, query_latent);
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    out.emplace_back(std::make_shared<KeyIndexing>(pattern, heads, phase),
                     phase == Phase::prefill ? KernelClass::Scaling::prefill : KernelClass::Scaling::decode);
  }
  return out;
}

const Registration<KernelClasses> index_score_class{
    "index_score", "scores of keys or of their blocks for prompt queries, and the choice of the best",
    &kIndexScore};
const Registration<KernelClasses> index_score_decode_class{
    "index_score_decode", "scores of a sequence's keys for its decode query, and the choice of the best",
    &kIndexScoreDecode};
const Registration<KernelClasses> key_summary_class{
    "key_summary", "summaries of several tokens' keys and values, by weights or by a matrix", &kKeySummary};

}  // namespace orrery
