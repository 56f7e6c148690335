#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "ops/attention.hpp"
#include "ops/attention_mla.hpp"
#include "ops/moe_layer.hpp"
#include "ops/operator.hpp"
#include "ops/residual_streams.hpp"
#include "ops/state_mixer.hpp"

namespace orrery {

// The blocks a layer is made of: parameters only. Their names in family maps and in the catalogue of methods
// are the names of their fields.

/// Softmax attention with keys and values per head or group of heads (blocks AttnPattern and KvLayout).
struct AttentionParams : AttentionSizes {
  bool qkv_bias = false, output_bias = false;
  bool qk_norm = false;        ///< RMSNorm over q and k: each head's with one weight vector of head_dim ...
  bool qk_norm_whole = false;  ///< ... or over all heads at once, a weight per channel
  bool rope = true;            ///< rotary embedding of q and k
  bool gate = false;    ///< a sigmoid gate on the output, as wide as it, from q's projection (Qwen3-Next)
  bool sinks = false;   ///< a learned logit per head in the softmax (gpt-oss)
  bool owns_kv = true;  ///< false: reads another layer's keys and values (YOCO, Hymba's pairs)
  bool value_from_key =
      false;               ///< values are the keys before their norm: no projection of their own (Gemma 4)
  std::int64_t input = 0;  ///< width of its input; 0 = hidden (Zamba2's shared block reads two streams)
  std::int64_t query_latent = 0;  ///< queries come through a normed latent of this width; 0 = in one matrix
  std::int64_t output_groups =
      0;  ///< groups of heads, each projected to `output_latent` first; 0 = in one matrix
  std::int64_t output_latent = 0;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    AttentionSizes::visit(p, v);
    v("qkv_bias", p.qkv_bias), v("output_bias", p.output_bias);
    v("qk_norm", p.qk_norm), v("qk_norm_whole", p.qk_norm_whole), v("rope", p.rope), v("gate", p.gate);
    v("sinks", p.sinks), v("owns_kv", p.owns_kv), v("value_from_key", p.value_from_key);
    v("input", p.input), v("query_latent", p.query_latent), v("output_groups", p.output_groups);
    v("output_latent", p.output_latent);
  }
  bool operator==(const AttentionParams&) const = default;
};

/// Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): keys and values of all heads from one latent
/// row per token, which the cache keeps beside one rotary key.
struct LatentParams {
  LatentSizes sizes;
  AttentionPattern pattern;  ///< over the cached latents (DeepSeek Sparse Attention selects 2048 of them)

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    LatentSizes::visit(p.sizes, v);
    v("pattern", p.pattern);
  }
  bool operator==(const LatentParams&) const = default;
};

/// A dense feed-forward.
struct DenseParams {
  std::int64_t width = 0;
  bool gated = true;  ///< SwiGLU/GeGLU: three matrices; else two
  bool bias = false;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("width", p.width), v("gated", p.gated), v("bias", p.bias);
  }
  bool operator==(const DenseParams&) const = default;
};

using Mixer = std::variant<AttentionParams, LatentParams, StateParams>;
using Ffn = std::variant<std::monostate, DenseParams, MoeParams>;

/// What surrounds the mixers and the feed-forward of a layer.
struct NormParams {
  int before = 1;           ///< norms before each of mixers and feed-forward
  int after = 0;            ///< norms on each one's output (Gemma 2: 1)
  bool layer_norm = false;  ///< LayerNorm with a bias (OPT), else RMSNorm
  bool shared = false;      ///< mixers and feed-forward run on the same norm's output (Falcon, GPT-J)

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("before", p.before), v("after", p.after), v("layer_norm", p.layer_norm), v("shared", p.shared);
  }
  bool operator==(const NormParams&) const = default;
};

/// A matrix that each use of a shared block has for itself: A[in, rank] B[rank, out] on top of one of the
/// block's (LoRA; Hu et al., 2021; Zamba2), or with rank 0 one W[in, out]. Widths of 0 are the hidden width.
struct OwnMatrix {
  std::int64_t in = 0, out = 0, rank = 0;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("in", p.in), v("out", p.out), v("rank", p.rank);
  }
  bool operator==(const OwnMatrix&) const = default;
};

/// `count` equal layers (block LayerPattern): mixers side by side on one input (one in most models, two in
/// Hymba and Falcon-H1, none in a layer that is a feed-forward alone), then a feed-forward, if any.
struct LayerKind {
  std::vector<Mixer> mixers;
  Ffn ffn;
  NormParams norms;
  std::int64_t other_parameters = 0;  ///< beside those of the blocks (scales, adapters), never multiplied
  ResidualParams residual;
  std::int64_t copies = 0;     ///< sets of weights the `count` layers share; 0 = one each
  std::vector<OwnMatrix> own;  ///< of each of them, whatever they share
  /// Of a prompt chunk only its last token runs through: layers that read what others have cached (YOCO).
  bool last_token = false;
  double depth = 1;  ///< share of the tokens that run through it (mixture of depths; block DepthPolicy)
  int count = 0;

  /// Equal but for the count.
  bool same_kind(const LayerKind& o) const {
    return mixers == o.mixers && ffn == o.ffn && norms == o.norms && copies == o.copies && depth == o.depth &&
           residual == o.residual && own == o.own && last_token == o.last_token &&
           other_parameters == o.other_parameters;
  }
};

/// The only mixer of a layer if it is attention; nullptr otherwise.
inline const AttentionParams* attention_of(const LayerKind& kind) {
  return kind.mixers.size() == 1 ? std::get_if<AttentionParams>(&kind.mixers.front()) : nullptr;
}
inline const DenseParams* dense_of(const LayerKind& kind) {
  return std::get_if<DenseParams>(&kind.ffn);
}

}  // namespace orrery
