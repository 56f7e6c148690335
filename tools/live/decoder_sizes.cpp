#include "decoder_sizes.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery::live {
namespace {

[[noreturn]] void refuse(const ModelSpec& model, const std::string& what) {
  throw ConfigError(fmt::format("the live engine does not compute {} yet, which {} needs", what, model.name),
                    "it runs dense decoders such as llama-3.1-8b, qwen3-8b and mistral-7b-v0.1");
}

WeightFormat weight_format(const ModelSpec& model, const Precision& p) {
  if (p.activation != DType::bf16)
    refuse(model, fmt::format("activations in {} (bf16 only)", name(p.activation)));
  if (p.kv_cache != DType::bf16) refuse(model, fmt::format("a KV cache in {} (bf16 only)", name(p.kv_cache)));
  if (p.lm_head != DType::bf16) refuse(model, fmt::format("an LM head in {} (bf16 only)", name(p.lm_head)));
  if (p.weight == DType::bf16 && p.compute == DType::bf16) return WeightFormat::bf16;
  if (p.weight == DType::fp8 && p.compute == DType::fp8) return WeightFormat::fp8;
  if (p.weight == DType::int4 && p.compute == DType::bf16) return WeightFormat::int4;
  refuse(model, fmt::format("{} weights in {} arithmetic", name(p.weight), name(p.compute)));
}

LayerSizes layer_sizes(const ModelSpec& model, const LayerKind& kind) {
  const auto* attention = attention_of(kind);
  const auto* ffn = dense_of(kind);
  if (!attention) refuse(model, "layers without softmax attention");
  if (!ffn) refuse(model, "layers without a dense feed-forward");
  const auto& a = *attention;
  if (a.output_bias) refuse(model, "a bias of the attention's output");
  if (ffn->bias) refuse(model, "biases of the feed-forward");
  if (!ffn->gated) refuse(model, "a feed-forward without a gate");
  if (!(kind.norms == NormParams{})) refuse(model, "norms after its blocks");
  AttentionParams known;
  known.heads = a.heads, known.kv_heads = a.kv_heads, known.head_dim = a.head_dim;
  known.pattern = a.pattern.window, known.qkv_bias = a.qkv_bias, known.qk_norm = a.qk_norm;
  if (!(a == known)) refuse(model, "attention of this kind");
  constexpr int dims[] = {64, 128, 256};
  if (std::find(std::begin(dims), std::end(dims), a.head_dim) == std::end(dims)) {
    refuse(model, fmt::format("heads of {} (64, 128 or 256 only)", a.head_dim));
  }
  LayerSizes s;
  s.heads = static_cast<int>(a.heads), s.kv_heads = static_cast<int>(a.kv_heads);
  s.head_dim = static_cast<int>(a.head_dim);
  s.window = static_cast<int>(a.pattern.window), s.qkv_bias = a.qkv_bias, s.qk_norm = a.qk_norm;
  s.ffn = static_cast<int>(ffn->width);
  return s;
}

/// What the kernels' alignments ask of n and k.
void check_multiples(const ModelSpec& model, const DecoderSizes& d) {
  const int multiple = d.format == WeightFormat::int4 ? 128 : d.format == WeightFormat::fp8 ? 16 : 8;
  bool fits = d.hidden % multiple == 0 && d.vocab % 8 == 0;
  for (const auto& l : d.layers) fits = fits && l.ffn % multiple == 0 && l.q_width() % multiple == 0;
  if (!fits) {
    refuse(model,
           fmt::format("widths that are no multiples of {} in this weight format, or a vocabulary that "
                       "is no multiple of 8",
                       multiple));
  }
}

}  // namespace

DecoderSizes decoder_sizes(const ModelSpec& model, const LoweringContext& ctx) {
  if (ctx.shard.gpus() > 1) throw ConfigError("the live engine runs on one GPU", "--tensor-parallel-size 1");
  DecoderSizes d;
  d.hidden = static_cast<int>(model.hidden), d.vocab = static_cast<int>(model.vocab);
  d.tied_embeddings = model.tied_embeddings;
  d.format = weight_format(model, ctx.precision);
  std::vector<LayerSizes> kinds;
  for (const auto& kind : model.kinds) kinds.push_back(layer_sizes(model, kind));
  for (const auto& kind : kinds) {
    if (kind.head_dim != kinds.front().head_dim) refuse(model, "heads of several sizes");
  }
  for (const int kind : model.pattern) d.layers.push_back(kinds[static_cast<std::size_t>(kind)]);
  check_multiples(model, d);
  return d;
}

}  // namespace orrery::live
