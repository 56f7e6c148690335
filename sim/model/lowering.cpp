#include "model/lowering.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "model/lower_blocks.hpp"
#include "ops/collective.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/other_parameters.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

void StepLowering::add(OperatorPtr op, Scaling scaling) {
  // With one token of each chunk the tokens are the rows whose logits are computed.
  if (last_token_ && scaling == Scaling::tokens) scaling = Scaling::logits;
  parts_.push_back({std::move(op), scaling, repeat_, copies_, depth_, last_token_, false});
}

/// The matrices of each use, the first factor of a pair whole on every rank.
void StepLowering::add_own(const OwnMatrix& m, std::int64_t hidden) {
  const std::int64_t in = m.in > 0 ? m.in : hidden, out = m.out > 0 ? m.out : hidden;
  const auto linear = [&](const char* role, std::int64_t from, UnitGroup to) {
    add(std::make_shared<Linear>(role, std::vector{UnitGroup{1, from}}, std::vector{to}, TensorSplit::columns,
                                 false, Module::mixer));
  };
  if (m.rank == 0) return linear("own_proj", in, {1, out});
  linear("adapter_down", in, {1, m.rank});
  linear("adapter_up", m.rank, {out, 1});
}

namespace {
/// Width of what a layer's mixers read: attention may read more than the residual stream.
std::int64_t input_width(const LayerKind& kind, std::int64_t hidden) {
  const auto* attention = attention_of(kind);
  return attention && attention->input > 0 ? attention->input : hidden;
}
}  // namespace

void StepLowering::add_kind(const ModelSpec& model, const LayerKind& kind) {
  if (kind.count == 0) return;
  repeat_ = kind.count;
  copies_ = kind.copies > 0 ? std::min<double>(static_cast<double>(kind.copies), kind.count) : kind.count;
  depth_ = kind.depth;
  last_token_ = kind.last_token;
  const auto& norms = kind.norms;
  const bool mixes = !kind.mixers.empty();
  const bool feeds = !std::holds_alternative<std::monostate>(kind.ffn);
  std::int64_t normed = 0;
  const auto norm = [&](const char* role, std::int64_t width, bool residual, bool feeds_linear) {
    add(std::make_shared<RmsNorm>(role, width, residual, feeds_linear));
    normed += width;
  };
  const auto read = [&](const char* role, std::int64_t width, bool first) {
    if (!kind.residual.plain()) add(std::make_shared<ResidualRead>(kind.residual, model.hidden));
    // What joins two inputs has no sum to make, and what mixes streams has made it.
    const bool sum = width == model.hidden && kind.residual.streams <= 1;
    if (norms.before > 0 && first) norm(role, width, sum, true);
  };
  const auto write = [&](const char* role) {
    if (norms.after > 0) norm(role, model.hidden, false, false);
    if (!kind.residual.plain()) add(std::make_shared<ResidualWrite>(kind.residual, model.hidden));
  };
  if (mixes) {
    read("input_norm", input_width(kind, model.hidden), true);
    for (const auto& mixer : kind.mixers) {
      for (auto& [op, scaling] : mixer_operators(mixer, model.hidden, model.caps())) add(op, scaling);
    }
    write("post_attn_norm");
  }
  if (feeds) {
    read("post_norm", model.hidden, !(norms.shared && mixes));
    for (auto& [op, scaling] : ffn_operators(kind.ffn, model.hidden)) add(op, scaling);
    write("post_mlp_norm");
  }
  const auto biases = norms.layer_norm ? normed : 0;
  if (biases + kind.other_parameters > 0) {
    add(std::make_shared<OtherParameters>(biases + kind.other_parameters));
  }
  copies_ = kind.count;
  for (const OwnMatrix& matrix : kind.own) add_own(matrix, model.hidden);
  if (!parts_.empty()) parts_.back().layer_end = true;
  repeat_ = copies_ = depth_ = 1;
  last_token_ = false;
}

StepLowering::StepLowering(const ModelSpec& model, const LoweringContext& ctx) : ctx_(ctx) {
  check_split(model, ctx.shard);
  if (model.has_embedding) add_embedding(model);
  for (const auto& kind : model.kinds) add_kind(model, kind);
  if (model.other_parameters > 0) add(std::make_shared<OtherParameters>(model.other_parameters));
  if (model.has_head) add_head(model);
}

void StepLowering::add_embedding(const ModelSpec& model) {
  const Embedding embedding(model.vocab, model.hidden);
  embedding_parameters_ = embedding.parameters();
  add(std::make_shared<Embedding>(embedding));
  add(std::make_shared<AllReduce>("embedding_all_reduce", model.hidden));
}

void StepLowering::add_head(const ModelSpec& model) {
  if (model.final_norm > 0) {
    add(std::make_shared<RmsNorm>("final_norm", model.hidden, true, false));
    if (model.final_norm > model.hidden) {
      add(std::make_shared<OtherParameters>(model.final_norm - model.hidden));
    }
  }
  // Ranks that divide a prompt restore its hidden states, as any of them may hold the row whose logits count.
  add(std::make_shared<KeyExchange>("hidden_restore", std::vector<UnitGroup>{{1, model.hidden}}, 0, 0, false),
      Scaling::prefill);
  const bool shares_matrix = model.tied_embeddings && model.has_embedding;
  if (shares_matrix) head_parameters_ = embedding_parameters_;
  add(std::make_shared<LmHead>(model.vocab, model.hidden, shares_matrix), Scaling::logits);
  add(std::make_shared<LogitsGather>(model.vocab), Scaling::logits);
  add(std::make_shared<Sampling>(model.vocab), Scaling::logits);
}

namespace {
/// The part of a batch that runs through a layer only `depth` of the tokens take (Raposo et al.,
/// Mixture-of-Depths, 2024, section 3): fewer queries, against the keys of the tokens that took it too.
BatchShape thinned(const BatchShape& batch, double depth) {
  const auto part = [&](std::int64_t n) {
    return n == 0 ? 0 : std::max<std::int64_t>(1, std::llround(depth * static_cast<double>(n)));
  };
  BatchShape out = batch;
  out.decode_seqs = part(batch.decode_seqs);
  const double seqs = batch.decode_seqs > 0
                          ? static_cast<double>(out.decode_seqs) / static_cast<double>(batch.decode_seqs)
                          : 0;
  const auto context = [&](Tokens n) {
    return static_cast<Tokens>(std::llround(static_cast<double>(n) * seqs * depth));
  };
  out.decode_context = context(batch.decode_context);
  for (Tokens& n : out.windowed_context) n = context(n);
  for (auto& chunk : out.chunks) chunk = {part(chunk.new_tokens), part(chunk.past)};
  if (batch.padded_tokens > 0) out.padded_tokens = part(batch.padded_tokens);
  return out;
}

/// The last token of each chunk and the decode set: the rows whose logits are computed.
BatchShape last_tokens(const BatchShape& batch) {
  BatchShape out = batch;
  out.padded_tokens = 0;
  for (auto& chunk : out.chunks) {
    if (chunk.new_tokens > 0) chunk = {1, chunk.past + chunk.new_tokens - 1};
  }
  return out;
}
}  // namespace

void StepLowering::lower(const Part& part, const BatchShape& batch, const LoweringContext& ctx,
                         KernelCalls& out) {
  const std::size_t first = out.size();
  if (part.last_token) {
    part.op->lower(last_tokens(batch), ctx, out);
  } else if (part.depth < 1) {
    part.op->lower(thinned(batch, part.depth), ctx, out);
  } else {
    part.op->lower(batch, ctx, out);
  }
  for (std::size_t i = first; i < out.size(); ++i) out[i].repeat *= part.repeat;
  if (part.layer_end && !out.empty()) out.back().layer_end = true;
}

void StepLowering::lower(const BatchShape& batch, KernelCalls& out) const {
  const BatchShape own = tokens_of_rank(batch, ctx_.shard.cp);
  for (const auto& part : parts_) lower(part, part.scaling == Scaling::tokens ? own : batch, ctx_, out);
}

void StepLowering::lower(const BatchShape& batch, Scaling only, KernelCalls& out) const {
  const bool divided = only == Scaling::tokens && ctx_.shard.cp > 1;
  const BatchShape own = divided ? tokens_of_rank(batch, ctx_.shard.cp) : BatchShape{};
  for (const auto& part : parts_) {
    if (part.scaling == only) lower(part, divided ? own : batch, ctx_, out);
  }
}

void StepLowering::lower_pooled(const BatchShape& batch, KernelCalls& out) const {
  for (const auto& part : parts_) {
    if (part.op->pooled(ctx_)) lower(part, batch, ctx_, out);
  }
}

double StepLowering::parameters() const {
  double sum = 0;
  for (const auto& part : parts_) sum += part.copies * part.op->parameters();
  return sum;
}

double StepLowering::active_parameters() const {
  double sum = head_parameters_ - embedding_parameters_;
  for (const auto& part : parts_) sum += part.repeat * part.depth * part.op->active_parameters();
  return sum;
}

double StepLowering::weight_bytes() const {
  double sum = 0;
  for (const auto& part : parts_) sum += part.copies * part.op->weight_bytes(ctx_);
  return sum;
}

}  // namespace orrery
