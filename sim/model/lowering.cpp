#include "model/lowering.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "ops/attention.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/linear.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

void StepLowering::add(OperatorPtr op, Scaling scaling) {
  parts_.push_back({std::move(op), scaling, repeat_, false});
}

void StepLowering::add_attention(const ModelSpec& model, const LayerKind& kind) {
  const auto& a = kind.attention;
  const AttentionSizes sizes{a.heads, a.kv_heads, a.head_dim, a.window};
  const UnitGroup hidden{model.hidden, 1}, q{a.heads, a.head_dim}, kv{a.kv_heads, a.head_dim};
  add(std::make_shared<RmsNorm>("input_norm", model.hidden, true, true));
  add(std::make_shared<Quantise>(hidden, false, Producer::norm));
  add(std::make_shared<Linear>("qkv_proj", std::vector{hidden}, std::vector{q, kv, kv}, TensorSplit::columns,
                               a.qkv_bias));
  if (a.qk_norm) add(std::make_shared<QkNorm>(sizes));
  add(std::make_shared<RopeKvWrite>(sizes));
  const auto caps = model.caps();
  const auto index = std::find(caps.begin(), caps.end(), KeyCap(a.window)) - caps.begin();
  add(std::make_shared<PrefillAttention>(sizes), Scaling::prefill);
  add(std::make_shared<DecodeAttention>(sizes, static_cast<std::size_t>(index)), Scaling::decode);
  add(std::make_shared<Quantise>(q, true, Producer::attention));
  add(std::make_shared<Linear>("o_proj", std::vector{q}, std::vector{hidden}, TensorSplit::rows,
                               a.output_bias));
  add(std::make_shared<AllReduce>("attn_all_reduce", model.hidden));
  if (kind.norms == 4) add(std::make_shared<RmsNorm>("post_attn_norm", model.hidden, false, false));
}

void StepLowering::add_ffn(const ModelSpec& model, const LayerKind& kind) {
  const auto& f = kind.ffn;
  const UnitGroup hidden{model.hidden, 1}, width{f.width, 1};
  add(std::make_shared<RmsNorm>("post_norm", model.hidden, true, true));
  add(std::make_shared<Quantise>(hidden, false, Producer::norm));
  const std::vector<UnitGroup> up(f.gated ? 2 : 1, width);
  add(std::make_shared<Linear>("gate_up_proj", std::vector{hidden}, up, TensorSplit::columns, f.bias));
  add(std::make_shared<Activation>(f.width, f.gated));
  add(std::make_shared<Quantise>(width, true, Producer::activation));
  add(std::make_shared<Linear>("down_proj", std::vector{width}, std::vector{hidden}, TensorSplit::rows,
                               f.bias));
  add(std::make_shared<AllReduce>("mlp_all_reduce", model.hidden));
  if (kind.norms == 4) add(std::make_shared<RmsNorm>("post_mlp_norm", model.hidden, false, false));
}

StepLowering::StepLowering(const ModelSpec& model, const LoweringContext& ctx) : ctx_(ctx) {
  check_split(model, ctx.shard);
  add(std::make_shared<Embedding>(model.vocab, model.hidden));
  add(std::make_shared<AllReduce>("embedding_all_reduce", model.hidden));
  for (const auto& kind : model.kinds) {
    repeat_ = kind.count;
    add_attention(model, kind);
    add_ffn(model, kind);
    parts_.back().layer_end = true;
  }
  repeat_ = 1;
  add(std::make_shared<RmsNorm>("final_norm", model.hidden, true, false));
  add(std::make_shared<LmHead>(model.vocab, model.hidden, model.tied_embeddings), Scaling::logits);
  add(std::make_shared<LogitsGather>(model.vocab), Scaling::logits);
  add(std::make_shared<Sampling>(model.vocab), Scaling::logits);
}

void StepLowering::lower(const Part& part, const BatchShape& batch, const LoweringContext& ctx,
                         KernelCalls& out) {
  const std::size_t first = out.size();
  part.op->lower(batch, ctx, out);
  for (std::size_t i = first; i < out.size(); ++i) out[i].repeat = part.repeat;
  if (part.layer_end && !out.empty()) out.back().layer_end = true;
}

void StepLowering::lower(const BatchShape& batch, KernelCalls& out) const {
  for (const auto& part : parts_) lower(part, batch, ctx_, out);
}

void StepLowering::lower(const BatchShape& batch, Scaling only, KernelCalls& out) const {
  for (const auto& part : parts_) {
    if (part.scaling == only) lower(part, batch, ctx_, out);
  }
}

double StepLowering::parameters() const {
  double sum = 0;
  for (const auto& part : parts_) sum += part.repeat * part.op->parameters();
  return sum;
}

double StepLowering::weight_bytes() const {
  double sum = 0;
  for (const auto& part : parts_) sum += part.repeat * part.op->weight_bytes(ctx_);
  return sum;
}

}  // namespace orrery
