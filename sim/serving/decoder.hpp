#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/decode_set.hpp"

namespace orrery {

/// Who proposes the tokens that a step verifies; vLLM's names (speculative_config.method).
enum class DraftMethod : std::uint8_t {
  none,         ///< plain autoregression
  ngram,        ///< prompt lookup: the continuation of an earlier occurrence, found by the host
  draft_model,  ///< a smaller model with a KV cache of its own
  eagle,        ///< one layer fed with the target's hidden states, the target's embeddings and LM head
  eagle3,       ///< the same, fed from several layers of the target
  mtp           ///< the multi-token-prediction layer the checkpoint brings (DeepSeek-V3, Qwen3-Next)
};
std::span<const std::string_view> enum_names(DraftMethod);

/// How a step becomes tokens (block 10 of the catalogue). Chain speculation: `num_speculative_tokens` (gamma)
/// tokens are drafted one after the other and verified in one step of the target, which keeps
/// those before the first refused one and adds one of its own (Leviathan et al., Fast inference from
/// transformers via speculative decoding, 2023; Chen et al., 2023). gamma = 0 is plain autoregression.
struct DecoderParams {
  DraftMethod method = DraftMethod::none;
  std::string model;  ///< of the draft; "" where the method brings none
  int num_speculative_tokens = 0;
  /// Probability that the i-th drafted token of a step is kept (so it does not rise with i), as engines log
  /// it by position; a single value is that of each token given that those before it were kept.
  std::vector<double> acceptance;
  /// Each sequence draws its accepted tokens every step; else all gain the expected number at an even pace.
  bool sampled = false;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("method", p.method), v("model", p.model);
    v("num_speculative_tokens", p.num_speculative_tokens);
    v("acceptance", p.acceptance), v("sampled", p.sampled);
  }
  bool operator==(const DecoderParams&) const = default;
};

/// A decoder with its parameters checked: tokens per step, as an expectation, a pace and draws.
class Decoder {
 public:
  Decoder() = default;  ///< plain autoregression
  /// Errors: ConfigError naming the field for probabilities outside [0, 1], rising with the position, of
  /// another number than gamma, or missing; for gamma outside [0, 64], or without a method.
  explicit Decoder(DecoderParams params);

  const DecoderParams& params() const { return params_; }
  bool plain() const { return params_.num_speculative_tokens == 0; }
  bool sampled() const { return params_.sampled && !plain(); }
  /// Tokens each decoding sequence computes in a step: gamma + 1.
  std::int64_t queries() const { return params_.num_speculative_tokens + 1; }
  /// Probability that the drafted tokens up to the i-th (from 1) are kept; 1 for i = 0.
  double kept(int i) const { return i == 0 ? 1.0 : kept_[static_cast<std::size_t>(i - 1)]; }
  /// tau: expected tokens a step, the target's own included. With one alpha (1 - alpha^(gamma+1))/(1 -
  /// alpha): Leviathan et al., equation 1.
  double tokens_per_step() const;
  /// Speed-up over plain decoding when a drafting pass costs `c` of a step of the target and verifying costs
  /// one: tau / (gamma c + 1), Leviathan et al., theorem 3.8.
  double speedup(double c) const;
  /// The expectation as a pace, the simplest fraction within 0.1%. Sampled decoders gain tokens by draw
  /// alone: none by pace.
  TokenPace pace() const;
  /// Tokens after `steps` steps at that pace: the identity for plain autoregression.
  Tokens tokens_after(std::int64_t steps) const { return pace().after(steps); }
  /// Tokens of one step by draw, 1..gamma + 1. A function of its arguments alone: `generated` tokens of
  /// `request` have been generated before the step.
  Tokens draw(std::uint64_t seed, std::int64_t request, Tokens generated) const;

  /// KV slots the engine holds beyond a sequence's tokens when a step has been planned: those of drafted
  /// tokens which may be refused (their KV is overwritten), and as many again where the draft writes ahead
  /// into the same block table (vLLM v1, scheduler.py: num_lookahead_tokens with EAGLE-like drafts).
  Tokens lookahead() const;

 private:
  DecoderParams params_;
  std::vector<double> kept_;  ///< by position
};

/// The fraction of the fewest steps that is within `error` (relative) of `value` >= 1.
TokenPace simplest_pace(double value, double error);

/// The chance that a token drafted from `draft` is kept by a target of distribution `target` over the same
/// vocabulary: sum of min(p, q), one less the total variation (Leviathan et al., theorem 3.5).
double acceptance_of(std::span<const double> target, std::span<const double> draft);

/// Whether a method's drafts come from a model on the GPU, with KV of its own.
bool drafts_on_device(DraftMethod method);

}  // namespace orrery
