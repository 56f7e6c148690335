#include "ops/context_parallel.hpp"

#include <algorithm>
#include <array>

#include "base/registry.hpp"
#include "ops/attention_merge.hpp"
#include "ops/exchange_work.hpp"
#include "ops/expert_exchange.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

using Dims = KernelClass::Dims;

Work pass_work(const Dims& dims, DType, DType) {
  Work w;
  w.hbm_read_bytes = w.hbm_write_bytes = w.link_bytes = dims[1];
  return w;
}

constexpr std::array<std::string_view, 8> kSpacedDims{"ranks", "bytes", "spacing"};
constexpr std::array<std::string_view, 8> kPartDims{"ranks", "bytes"};

double local_width(const std::vector<UnitGroup>& groups, const LoweringContext& ctx) {
  double width = 0;
  for (const UnitGroup& g : groups) width += static_cast<double>(g.local_width(ctx.shard.tp));
  return width;
}

}  // namespace

constexpr KernelClass kKeyExchange{"key_exchange", KernelClass::Scaling::prefill,
                                   kSpacedDims,    "all ranks' keys and values of a prompt to all ranks",
                                   gather_work,    &kAllGather};
constexpr KernelClass kKeyPass{"key_pass",  KernelClass::Scaling::prefill,
                               kSpacedDims, "keys and values of a prompt to the next rank of a ring",
                               pass_work,   &kSendRecv};
constexpr KernelClass kQueryGather{"query_gather", KernelClass::Scaling::decode,
                                   kPartDims,      "queries to all ranks that share a sequence's cache",
                                   gather_work,    &kAllGather};
constexpr KernelClass kPartialScatter{"partial_scatter",   KernelClass::Scaling::decode,
                                      kPartDims,           "sums of partial attention outputs, by heads",
                                      reduce_scatter_work, &kReduceScatter};

std::span<const std::string_view> enum_names(ContextExchange) {
  static constexpr std::array<std::string_view, 2> names{"gather", "ring"};
  return names;
}

std::vector<PrefillChunk> rank_pieces(const PrefillChunk& chunk, int cp, int rank) {
  const Tokens each = chunk.new_tokens / (2 * cp), longer = chunk.new_tokens % (2 * cp);
  std::vector<PrefillChunk> pieces;
  for (const Tokens i : {Tokens{rank}, Tokens{2 * cp - 1 - rank}}) {
    const Tokens size = each + (i < longer ? 1 : 0);
    if (size > 0) pieces.push_back({size, chunk.past + i * each + std::min(i, longer)});
  }
  return pieces;
}

Tokens tokens_on_rank(Tokens new_tokens, int cp) {
  if (cp == 1) return new_tokens;
  const Tokens longer = new_tokens % (2 * cp);
  return new_tokens / (2 * cp) * 2 + (longer > cp ? 2 : longer > 0 ? 1 : 0);
}

ChunksOnRank::ChunksOnRank(const BatchShape& batch, const Shard& shard) : chunks_(batch.chunks) {
  if (shard.cp == 1) return;
  for (const PrefillChunk& chunk : batch.chunks) {
    for (const PrefillChunk& piece : rank_pieces(chunk, shard.cp, shard.cp - 1)) pieces_.push_back(piece);
  }
  chunks_ = pieces_;
}

BatchShape tokens_of_rank(const BatchShape& batch, int cp) {
  BatchShape own = batch;
  for (PrefillChunk& chunk : own.chunks) chunk.new_tokens = tokens_on_rank(chunk.new_tokens, cp);
  return own;
}

Tokens received_tokens(Tokens new_tokens, int cp, Tokens window) {
  const Tokens others = new_tokens - tokens_on_rank(new_tokens, cp);
  return window == 0 ? others : std::min(others, 2 * (window - 1) + window);
}

Tokens keys_needed(std::span<const KeyTerm> read, std::span<const KeyTerm> kept) {
  Tokens needed = 0;
  for (const auto& terms : {read, kept}) {
    Tokens sum = 0;
    for (const KeyTerm& term : terms) {
      if (term.cap.tokens == 0) return 0;
      sum += term.cap.tokens;
    }
    needed = std::max(needed, sum);
  }
  return needed;
}

void KeyExchange::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const Shard& shard = ctx.shard;
  if (shard.cp == 1 || (in_ring_ && passes_keys(ctx))) return;
  Tokens received = 0;
  for (const PrefillChunk& chunk : batch.chunks) {
    received += received_tokens(chunk.new_tokens, shard.cp, needed_);
  }
  if (received == 0) return;
  const DType format = ctx.precision.activation;
  const double token = local_width(widths_, ctx) * bytes_per_element(format) + other_bytes_;
  const double part = static_cast<double>(received) / (shard.cp - 1) * token;
  push_exchange(kKeyExchange, role_, {static_cast<double>(shard.cp), part, static_cast<double>(shard.tp)},
                format, out);
}

bool passes_keys(const LoweringContext& ctx) {
  return ctx.shard.cp > 1 && ctx.fusion.attention.exchange == ContextExchange::ring;
}

void push_ring(const RingStep& step, const BatchShape& batch, const LoweringContext& ctx,
               const std::function<void(KernelCalls&)>& attend, KernelCalls& out) {
  KernelCalls part;
  attend(part);
  if (part.empty()) return;
  const Shard& shard = ctx.shard;
  const DType format = ctx.precision.activation;
  double tokens = 0;
  for (const PrefillChunk& chunk : batch.chunks) {
    tokens += static_cast<double>(tokens_on_rank(chunk.new_tokens, shard.cp));
  }
  const auto steps = static_cast<double>(shard.cp);
  for (std::size_t i = 0; i < part.size(); ++i) {
    out.push_back(part[i]);
    out.back().repeat *= steps - 1;
    if (i == 0) out.back().mark = Mark::fork;
  }
  push_exchange(kKeyPass, "key_exchange", {steps, tokens * step.token_bytes, static_cast<double>(shard.tp)},
                format, out);
  out.back().mark = Mark::branch;
  out.back().repeat = steps - 1;
  part.front().mark = Mark::join;
  out.insert(out.end(), part.begin(), part.end());
  out.push_back(make_call(kAttentionMerge, {step.rows, 2, step.dim}, format, format));
  out.back().role = "attention_merge";
  out.back().repeat = steps - 1;
}

namespace {
/// Queries that meet a cache divided over ranks: of the decode set, or of chunks after cached tokens.
double queries_over_cache(const BatchShape& batch, const LoweringContext& ctx, Phase phase) {
  if (ctx.shard.dcp == 1) return 0;
  if (phase == Phase::decode) return static_cast<double>(batch.decode_seqs * batch.decode_queries);
  Tokens queries = 0;
  for (const PrefillChunk& chunk : batch.chunks) {
    if (chunk.past > 0) queries += tokens_on_rank(chunk.new_tokens, ctx.shard.cp);
  }
  return static_cast<double>(queries);
}
}  // namespace

void QueryGather::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double queries = queries_over_cache(batch, ctx, phase_);
  if (queries == 0) return;
  const DType format = ctx.precision.activation;
  const double width = static_cast<double>(queries_.local_width(ctx.shard.tp));
  push_exchange(kQueryGather, "query_gather",
                {static_cast<double>(ctx.shard.dcp), queries * width * bytes_per_element(format)}, format,
                out);
}

void PartialOutputs::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double queries = queries_over_cache(batch, ctx, phase_);
  if (queries == 0) return;
  const DType format = ctx.precision.activation;
  const auto ranks = static_cast<double>(ctx.shard.dcp);
  const double heads = static_cast<double>(outputs_.local_units(ctx.shard.tp));
  const double dim = static_cast<double>(outputs_.local_width(ctx.shard.tp)) / heads;
  push_exchange(kQueryGather, "lse_gather", {ranks, queries * heads * ranks * bytes_per_element(DType::fp32)},
                DType::fp32, out);
  out.push_back(make_call(kAttentionMerge, {queries * heads * ranks, 1, dim}, format, format));
  out.back().role = "partial_scale";
  push_exchange(kPartialScatter, "partial_scatter",
                {ranks, queries * heads * dim * bytes_per_element(format)}, format, out);
}

void CacheGather::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (ctx.shard.dcp == 1) return;
  Tokens past = 0;
  for (const PrefillChunk& chunk : batch.chunks) {
    if (chunk.new_tokens > 0) past += chunk.past;
  }
  if (past == 0) return;
  const DType kv = ctx.precision.kv_cache;
  const double part =
      static_cast<double>(past) / ctx.shard.dcp * local_width(widths_, ctx) * kv_bytes_per_element(kv);
  push_exchange(kKeyExchange, "cache_gather", {static_cast<double>(ctx.shard.dcp), part, 1}, kv, out);
}

const Registration<KernelClasses> key_exchange_class{
    "key_exchange", "keys and values of a prompt's parts to all ranks of the prompt", &kKeyExchange};
const Registration<KernelClasses> key_pass_class{
    "key_pass", "keys and values of a prompt's part to the next rank of a ring", &kKeyPass};
const Registration<KernelClasses> query_gather_class{
    "query_gather", "queries to all ranks that share a sequence's cache", &kQueryGather};
const Registration<KernelClasses> partial_scatter_class{
    "partial_scatter", "sums of partial attention outputs over ranks, each its heads'", &kPartialScatter};

}  // namespace orrery
