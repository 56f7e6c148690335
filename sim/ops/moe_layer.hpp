#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/operator.hpp"

namespace orrery {

/// Who chooses whom in a mixture of experts.
enum class ExpertRouter : std::uint8_t {
  token,        ///< each token its top_k experts (Shazeer et al., 2017; GShard; Switch; Mixtral)
  expert,       ///< each expert its best tokens (Zhou et al., Expert Choice Routing, 2022): always balanced
  hash,         ///< nobody: experts follow from the token's id (Roller et al., Hash Layers, 2021)
  soft,         ///< every expert works on mixtures of all tokens (Puigcerver et al., Soft MoE, 2023)
  product_key,  ///< each token single neurons, found by two half keys (He, Million Experts (PEER), 2024)
};
std::span<const std::string_view> enum_names(ExpertRouter);

/// How unevenly tokens choose among the experts.
enum class LoadShape : std::uint8_t { uniform, zipf, histogram };
std::span<const std::string_view> enum_names(LoadShape);

/// The chances of experts to be chosen.
struct ExpertLoad {
  LoadShape shape = LoadShape::uniform;
  double exponent = 1;            ///< zipf: weights rank^-exponent
  std::vector<double> histogram;  ///< how often each expert was chosen, in any unit

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("shape", p.shape), v("exponent", p.exponent), v("histogram", p.histogram);
  }
  bool operator==(const ExpertLoad&) const = default;
};

/// A feed-forward made of experts. Without routed experts (none, or a single one that every token chooses)
/// it is a dense feed-forward.
struct MoeParams {
  int experts = 0;           ///< routed experts
  int active = 0;            ///< of them each token chooses (top_k)
  std::int64_t width = 0;    ///< of one expert
  bool gated = true;         ///< three matrices per expert; else two
  bool bias = false;         ///< on the experts' matrices (gpt-oss)
  std::int64_t latent = 0;   ///< width that experts read and write, projected from and to hidden; 0 = hidden
  bool latent_norm = false;  ///< the experts' sum is normed before it leaves that width (Kimi-K3)
  /// Shares of tokens that choose 0, 1, 2, ... experts, where their number varies. Empty = all choose
  /// `active`.
  std::vector<double> active_shares;

  int shared_experts = 0;  ///< always on
  std::int64_t shared_width = 0;
  bool shared_gate = false;  ///< a sigmoid gate, one column, on the shared experts' sum (Qwen2-MoE)

  int zero_experts = 0;  ///< choices that compute next to nothing: zero, copy, constant, null experts
  std::optional<double> zero_share;  ///< of choices that fall on them; their share of the choices if unset

  ExpertRouter router = ExpertRouter::token;
  bool router_bias = false;         ///< a bias per expert in the choice
  int groups = 1, topk_groups = 1;  ///< experts lie in groups, of which a token may choose so many
  double capacity_factor = 0;       ///< rows an expert takes, over the mean; others are dropped. 0 = all
  ExpertLoad load;
  std::int64_t lora_rank = 0;  ///< experts are low-rank adapters of each of the shared experts' matrices ...
  bool lora_whole = false;     ///< ... or of their feed-forward as a whole, from hidden to hidden
  int slots = 1;               ///< soft: mixtures per expert
  int query_heads = 1;         ///< product_key
  std::int64_t key_width = 0;  ///< product_key: both halves together

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("experts", p.experts), v("active", p.active), v("width", p.width), v("gated", p.gated);
    v("bias", p.bias), v("latent", p.latent), v("active_shares", p.active_shares);
    v("latent_norm", p.latent_norm);
    v("shared_experts", p.shared_experts), v("shared_width", p.shared_width);
    v("shared_gate", p.shared_gate), v("zero_experts", p.zero_experts), v("zero_share", p.zero_share);
    v("router", p.router), v("router_bias", p.router_bias), v("groups", p.groups);
    v("topk_groups", p.topk_groups), v("capacity_factor", p.capacity_factor), v("load", p.load);
    v("lora_rank", p.lora_rank), v("lora_whole", p.lora_whole), v("slots", p.slots),
        v("query_heads", p.query_heads);
    v("key_width", p.key_width);
  }
  bool operator==(const MoeParams&) const = default;

  /// Errors: ConfigError naming the field, its value and what is valid.
  void check() const;

  bool routed() const { return experts > 1 || zero_experts > 0 || (experts == 1 && lora_rank > 0); }
  /// Matrices of one expert: gate, up and down, or up and down.
  int matrices() const { return gated ? 3 : 2; }
  /// Width the experts work on.
  std::int64_t expert_hidden(std::int64_t hidden) const { return latent > 0 ? latent : hidden; }
  /// What a token may choose among.
  int choices() const { return experts + zero_experts; }
  /// Experts that a token chooses on average, those that compute nothing included.
  double mean_choices() const;
  /// Share of choices that fall on experts that compute nothing.
  double idle_share() const;
  /// Experts that compute for a token, on average, before any drop.
  double mean_active() const { return mean_choices() * (1 - idle_share()); }
};

/// Errors: ConfigError when the experts cannot be divided so: `ep` is neither 1 nor all of the tp * dp ranks
/// nor a divisor of them, or the experts (with redundant ones) or their width do not divide.
void check_split(const MoeParams& params, const Shard& shard, const ExpertPlan& plan = {});

/// The operators of a mixture of experts after its norm, in the order an engine runs them, each with the part
/// of a step it belongs to: shared experts, router, choice, exchange of rows between data-parallel ranks,
/// experts, their sum with the shared ones, all-reduce.
///
/// The experts of a layer lie on the tp * dp ranks of a stage: divided over ep of them, and in width over the
/// others. With dp = 1 each rank has every token, computes its part of each sum, and an all-reduce follows,
/// with ep or without (vLLM). With dp > 1 rows are dispatched to the experts' ranks and combined
/// (ExpertPlan::dispatch, ep = tp * dp; each of the tp ranks then sends its part of the tokens and a gather
/// follows), or all tokens are gathered and the sums scattered. Shared experts are divided over tp like a
/// dense feed-forward; where rows are dispatched they are whole on each rank, on its part of the tokens.
/// `hidden`: width of the residual stream. Errors: ConfigError (MoeParams::check).
std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> moe_operators(const MoeParams& params,
                                                                        std::int64_t hidden);

}  // namespace orrery
