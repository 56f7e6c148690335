#pragma once

#include <vector>

#include "model/model_spec.hpp"

namespace orrery {

/// A model bound to a split, formats and fusion choices: the operators of a step in the order an engine runs
/// them, built once. Lowering a batch then allocates nothing beyond `out`.
///
/// Roles, in order: embedding, embedding_all_reduce; per kind of layer (repeated by its count): input_norm,
/// quantise, its mixers (lower_mixer.cpp: for attention qkv_proj, qk_norm, rope, kv_write, attention
/// (prefill, then decode), quantise, o_proj, attn_all_reduce), post_attn_norm (with norms after), post_norm,
/// its feed-forward (lower_ffn.cpp: for a dense one quantise, gate_up_proj, activation, quantise, down_proj,
/// mlp_all_reduce), post_mlp_norm (with norms after); final_norm, lm_head, logits_gather, sampling.
/// A pipeline stage has embedding and LM head, with what stands beside them, as its flags say; pp of the
/// split is not looked at. All-reduces and the gather exist for tp > 1 only. Unfused plans add residual_add
/// before a norm and activation_mul after activation.
class StepLowering {
 public:
  /// Errors: ConfigError as check_split().
  StepLowering(const ModelSpec& model, const LoweringContext& ctx);

  /// Appends every kernel call of one step on one rank.
  void lower(const BatchShape& batch, KernelCalls& out) const;
  /// Appends those of one scaling only: the parts of a price that depend on tokens, logit rows, the decode
  /// set or the chunks alone.
  void lower(const BatchShape& batch, KernelClass::Scaling only, KernelCalls& out) const;
  /// Appends those whose work follows the tokens of all data-parallel ranks (Operator::pooled).
  void lower_pooled(const BatchShape& batch, KernelCalls& out) const;

  double parameters() const;         ///< of the whole model, unsharded
  double active_parameters() const;  ///< that one token multiplies, without the input embedding
  double weight_bytes() const;       ///< of one rank

 private:
  using Scaling = KernelClass::Scaling;
  struct Part {
    OperatorPtr op;
    Scaling scaling;
    double repeat;  ///< kernel launches of this operator in a step
    double copies;  ///< sets of its weights
    double depth;   ///< share of the tokens that run through it
    bool last_token;
    bool layer_end;
  };
  void add(OperatorPtr op, Scaling scaling = Scaling::tokens);
  void add_own(const OwnMatrix& matrix, std::int64_t hidden);
  void add_embedding(const ModelSpec& model);
  void add_kind(const ModelSpec& model, const LayerKind& kind);
  void add_head(const ModelSpec& model);
  static void lower(const Part& part, const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out);

  LoweringContext ctx_;
  double repeat_ = 1, copies_ = 1, depth_ = 1;  ///< of the parts being added
  bool last_token_ = false;
  double embedding_parameters_ = 0, head_parameters_ = 0;
  std::vector<Part> parts_;
};

}  // namespace orrery
