#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

/// What a mixture of experts runs beside its matrix products, when each token chooses top_k experts (Shazeer
/// et al., 2017; Jiang et al., Mixtral, 2024; grouped: DeepSeek-V3, 2024, section 2.1.2): scores of the
/// router's logits, the choice, the sort by expert, the rows of the tokens copied in that order, and the
/// weighted sum of the experts' rows back to tokens. The router's own product is a gemm.
/// dims: tokens, experts, top_k, hidden.
extern const KernelClass kMoeRouting;
/// The same when each expert chooses its tokens x top_k / experts best tokens (Zhou et al.,
/// Mixture-of-Experts with Expert Choice Routing, 2022, section 3.2). dims as kMoeRouting.
extern const KernelClass kMoeExpertChoice;

/// y_e = x_e W_e over the experts, W_e [n, k], all in one launch: rows sorted by expert. dims: rows (tokens x
/// top_k, all experts together), n, k, experts, active_experts (those that get rows: only their weights are
/// read).
extern const KernelClass kGroupedGemm;

/// Experts hit when each of `tokens` tokens chooses `top_k` different ones uniformly: E (1 - (1 - k/E)^B)
/// (linearity of expectation; a token leaves an expert out with probability 1 - k/E).
double expected_active_experts(double tokens, double experts, double top_k);

}  // namespace orrery
