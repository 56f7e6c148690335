#pragma once

#include <vector>

#include "model/model_spec.hpp"

namespace orrery::live {

/// How the linear layers' weights are stored and multiplied.
enum class WeightFormat : std::uint8_t {
  bf16,
  fp8,   ///< W8A8, E4M3, one scale per tensor
  int4,  ///< W4A16, groups of 128
};

struct LayerSizes {
  int heads = 0, kv_heads = 0, head_dim = 0;
  int window = 0;  ///< 0 = all
  bool qkv_bias = false, qk_norm = false;
  int ffn = 0;
  int q_width() const { return heads * head_dim; }
  int qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
};

/// A dense decoder as the live engine computes it: pre-norm layers of grouped-query attention with rotary
/// embedding and a SwiGLU feed-forward, RMSNorm, LM head.
struct DecoderSizes {
  int hidden = 0, vocab = 0;
  bool tied_embeddings = false;
  WeightFormat format = WeightFormat::bf16;
  std::vector<LayerSizes> layers;
};

/// Errors: ConfigError naming the part of the model, its formats or its split that the live engine does not
/// compute.
DecoderSizes decoder_sizes(const ModelSpec& model, const LoweringContext& ctx);

}  // namespace orrery::live
