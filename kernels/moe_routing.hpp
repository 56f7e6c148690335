#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

// The steps of a mixture of experts around its matrix products, each one launch (two where said). Nothing is
// known on the host but the number of tokens: all of them fit into a captured graph.

inline constexpr int kMaxExperts = 512, kMaxChoices = 32;

/// The experts of each token by their logits. Scores are a softmax over the experts or, with `sigmoid`, each
/// logit's own. Chosen are the highest of score + bias, equal ones by their number. With `groups` > 1 only
/// experts of the best `top_groups` groups may be chosen, a group counting its best expert or, with a bias,
/// the sum of its best two (DeepSeek-V2, 2024, section 2.2.2; DeepSeek-V3, 2024, section 2.1.2 and its code).
struct ChooseExpertsArgs {
  const bf16* logits = nullptr;    ///< [tokens, experts]
  const float* bias = nullptr;     ///< [experts], for the choice alone; nullptr: none
  std::int32_t* expert = nullptr;  ///< out [tokens, top_k], best first
  float* weight = nullptr;         ///< out [tokens, top_k]: the scores, without bias
  std::int64_t tokens = 0;
  int experts = 0, top_k = 0;      ///< up to kMaxExperts, kMaxChoices
  int groups = 1, top_groups = 1;  ///< groups divides experts; top_k experts fit into top_groups groups
  bool sigmoid = false, renormalise = true;  ///< renormalise: weights of a token add up to `scale`
  float scale = 1;                           ///< of the weights (routed_scaling_factor)
};
void choose_experts(const ChooseExpertsArgs& args, StreamRef stream);

/// Where the rows of experts lie when the choices of all tokens are sorted by expert, those of one in the
/// order of tokens. Experts' rows begin at multiples of `alignment`, as engines pad them to a tile
/// (moe_align_block_size), 1 = without gaps; there are at most max_moe_rows() rows.
struct SortByExpertArgs {
  const std::int32_t* expert = nullptr;  ///< [tokens, top_k]
  std::int32_t* row = nullptr;           ///< out [tokens, top_k]: place of each choice
  std::int32_t* token = nullptr;         ///< out [rows]: token of each row, -1 in gaps; may be nullptr
  std::int32_t* start = nullptr;         ///< out [experts]: an expert's first row
  std::int32_t* count = nullptr;         ///< out [experts]: how many it has
  std::int32_t* workspace = nullptr;     ///< sort_by_expert_workspace() ints
  std::int64_t tokens = 0;
  int experts = 0, top_k = 0, alignment = 1;
};
/// Two launches above 2048 choices.
void sort_by_expert(const SortByExpertArgs& args, StreamRef stream);
std::size_t sort_by_expert_workspace(std::int64_t tokens, int experts, int top_k);
std::int64_t max_moe_rows(std::int64_t tokens, int experts, int top_k, int alignment);

/// The tokens of each expert: its `capacity` best by a softmax of each token's logits over the experts (Zhou
/// et al., 2022, section 3.2); equal ones by their number, rows of an expert in the order of tokens. A memset
/// and two launches.
struct ChooseTokensArgs {
  const bf16* logits = nullptr;   ///< [tokens, experts]
  float* scores = nullptr;        ///< workspace [experts, tokens]
  std::int32_t* token = nullptr;  ///< out [experts, capacity]
  float* weight = nullptr;        ///< out [experts, capacity]
  std::int32_t* row = nullptr;    ///< out [tokens, experts]: place of each pair, -1 where not chosen
  int tokens = 0, experts = 0, capacity = 0;  ///< capacity up to tokens
};
void choose_tokens(const ChooseTokensArgs& args, StreamRef stream);

/// Rows copied into the order of experts. hidden a multiple of 8.
struct PermuteArgs {
  const bf16* x = nullptr;              ///< [tokens, hidden]
  const std::int32_t* row = nullptr;    ///< [tokens, top_k] (sort_by_expert); or
  const std::int32_t* token = nullptr;  ///< [rows] (choose_tokens), `row` being nullptr
  bf16* out = nullptr;                  ///< [rows, hidden]
  std::int64_t tokens = 0, rows = 0;    ///< rows: for `token`
  int top_k = 0, hidden = 0;
};
void permute_rows(const PermuteArgs& args, StreamRef stream);

/// y[t] = sum_j weight x[row[t, j]], added up in float in the order of j: the same each time. A row of -1
/// adds nothing. hidden a multiple of 8.
struct CombineArgs {
  const bf16* x = nullptr;            ///< [rows, hidden], what the experts made
  const std::int32_t* row = nullptr;  ///< [tokens, choices]: top_k, or all experts
  const float* weight = nullptr;      ///< [tokens, choices], or [rows] with weight_of_row
  bf16* y = nullptr;                  ///< out [tokens, hidden]
  std::int64_t tokens = 0;
  int choices = 0, hidden = 0;
  bool weight_of_row = false;
};
void combine_rows(const CombineArgs& args, StreamRef stream);

}  // namespace orrery::kernels
