#include "model/lowering.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "model/lower_blocks.hpp"
#include "ops/collective.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/other_parameters.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

void StepLowering::add(OperatorPtr op, Scaling scaling) {
  parts_.push_back({std::move(op), scaling, repeat_, copies_, depth_, false});
}

void StepLowering::add_kind(const ModelSpec& model, const LayerKind& kind) {
  repeat_ = kind.count;
  copies_ = kind.copies > 0 ? std::min<double>(static_cast<double>(kind.copies), kind.count) : kind.count;
  depth_ = kind.depth;
  const auto& norms = kind.norms;
  const bool mixes = !kind.mixers.empty();
  const bool feeds = !std::holds_alternative<std::monostate>(kind.ffn);
  int norms_made = 0;
  const auto norm = [&](const char* role, bool residual, bool feeds_linear) {
    add(std::make_shared<RmsNorm>(role, model.hidden, residual, feeds_linear));
    ++norms_made;
  };
  if (mixes) {
    if (norms.before > 0) norm("input_norm", true, true);
    for (const auto& mixer : kind.mixers) {
      for (auto& [op, scaling] : mixer_operators(mixer, model.hidden, model.caps())) add(op, scaling);
    }
    if (norms.after > 0) norm("post_attn_norm", false, false);
  }
  if (feeds) {
    if (norms.before > 0 && !(norms.shared && mixes)) norm("post_norm", true, true);
    for (auto& [op, scaling] : ffn_operators(kind.ffn, model.hidden)) add(op, scaling);
    if (norms.after > 0) norm("post_mlp_norm", false, false);
  }
  const auto biases = norms.layer_norm ? norms_made * model.hidden : 0;
  if (biases + kind.other_parameters > 0) {
    add(std::make_shared<OtherParameters>(biases + kind.other_parameters));
  }
  if (!parts_.empty()) parts_.back().layer_end = true;
  repeat_ = copies_ = depth_ = 1;
}

StepLowering::StepLowering(const ModelSpec& model, const LoweringContext& ctx) : ctx_(ctx) {
  check_split(model, ctx.shard);
  const Embedding embedding(model.vocab, model.hidden);
  embedding_parameters_ = embedding.parameters();
  head_parameters_ = model.tied_embeddings ? embedding_parameters_ : 0;
  add(std::make_shared<Embedding>(embedding));
  add(std::make_shared<AllReduce>("embedding_all_reduce", model.hidden));
  for (const auto& kind : model.kinds) add_kind(model, kind);
  if (model.other_parameters > 0) add(std::make_shared<OtherParameters>(model.other_parameters));
  if (model.final_norm > 0) {
    add(std::make_shared<RmsNorm>("final_norm", model.hidden, true, false));
    if (model.final_norm > model.hidden) {
      add(std::make_shared<OtherParameters>(model.final_norm - model.hidden));
    }
  }
  // Ranks that divide a prompt restore its hidden states, as any of them may hold the row whose logits count.
  add(std::make_shared<KeyExchange>("hidden_restore", std::vector<UnitGroup>{{1, model.hidden}}, 0, 0, false),
      Scaling::prefill);
  add(std::make_shared<LmHead>(model.vocab, model.hidden, model.tied_embeddings), Scaling::logits);
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
}  // namespace

void StepLowering::lower(const Part& part, const BatchShape& batch, const LoweringContext& ctx,
                         KernelCalls& out) {
  const std::size_t first = out.size();
  if (part.depth < 1) {
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
