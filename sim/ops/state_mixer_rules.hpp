#pragma once

#include <span>

#include "ops/state_mixer.hpp"

namespace orrery {

/// A mixer's sizes on one rank. Heads are divided; key heads are replicated when there are fewer of them than
/// ranks.
struct StateSizes {
  double heads = 0, key_heads = 0, dk = 0, dv = 0, channels = 0;
  StateSizes(const StateParams& p, int ranks);
};

/// The calls of a rule for tokens that are known in number only: what prompts and the decode set share.
class RuleLowering {
 public:
  RuleLowering(const StateParams& params, const LoweringContext& ctx, KernelCalls& out)
      : p(params), s(params, ctx.shard.tp), ctx_(ctx), out_(out) {}

  /// One token of each of `seqs` sequences, whose contexts sum to `context`.
  void step(double seqs, double context) const;
  /// `tokens` of `seqs` prompts at once. `live`: mean number of states beside the running chunk's that a
  /// token reads (levels).
  void prompt(double tokens, double seqs, double live) const;
  /// A filter over prompts in one launch, by the FFT.
  void filter(std::span<const PrefillChunk> chunks) const;

  const StateParams& p;
  const StateSizes s;

 private:
  KernelCall& push(const KernelClass& cls, const KernelClass::Dims& dims) const;
  double element() const { return bytes_per_element(ctx_.precision.activation); }
  double number() const { return bytes_per_element(p.state_dtype); }
  void map_features(Work& w, double tokens, double key_heads, double dk) const;
  void add_normaliser(Work& w, double rows, double states) const;
  KernelCall& matrix_step(double seqs, double key_heads, double dk, double dv) const;
  KernelCall& matrix_prompt(double tokens, double seqs, double key_heads, double dk, double dv) const;
  template <class Pass>
  void slot_passes(double tokens, Pass pass) const;
  void read_levels_step(KernelCall& call, double seqs, double context) const;
  void read_levels_prompt(KernelCall& call, double tokens, double live) const;

  const LoweringContext& ctx_;
  KernelCalls& out_;
};

}  // namespace orrery
