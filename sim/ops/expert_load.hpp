#pragma once

#include <cstdint>
#include <vector>

#include "ops/moe_layer.hpp"

namespace orrery {

// Expectations over the choices of a step's tokens, as functions of their number. Tokens choose independently
// of each other, a token its experts without repetition.

/// For each routed expert, the chance that one token chooses it; they sum to mean_active(). Uniform loads
/// give k / E each. Of a Zipf load the weights are rank^-exponent and tokens draw without repetition: an
/// expert of weight w is in with 1 - exp(-w t), t such that they sum to k (Rosen, Asymptotic theory for
/// successive sampling, 1972). A histogram holds the chances themselves, up to a factor.
std::vector<double> expert_chances(const MoeParams& params);

/// Experts that get a row: the sum of 1 - (1 - q)^tokens.
double expected_distinct(const std::vector<double>& chances, double tokens);

/// Share of the rows that remain when an expert takes at most `capacity` of them.
double kept_share(const std::vector<double>& chances, double tokens, double capacity);

/// Rows when those of each expert are padded to a multiple of `tile`.
double padded_rows(const std::vector<double>& chances, double tokens, int tile);

/// What lies on one rank: per copy of an expert, the chance that a token sends it a row.
using ExpertRank = std::vector<double>;

/// Experts on `ranks` ranks in order; with plan.balance or redundant copies by load, as EPLB does: each copy
/// goes to the expert with the most rows per copy, then copies, most loaded first, to the rank with the least
/// load that has a place left. Errors: InternalError when copies do not divide over the ranks.
std::vector<ExpertRank> place_experts(const std::vector<double>& chances, int ranks, const ExpertPlan& plan);

/// Rows of the rank that gets most, in expectation: of a rank's rows the mean is the sum of its chances times
/// the tokens, the variance that of the copies' sum when a token's choices are as many always (Hajek,
/// Asymptotic theory of rejective sampling, 1964); ranks are taken as independent with the variance that
/// conditioning on the total undoes. Within 2% of balls in bins from some rows per rank on.
double slowest_rows(const std::vector<ExpertRank>& placed, double tokens);

/// Most rows over mean rows when chance is left out: what a placement itself costs.
double placement_imbalance(const std::vector<ExpertRank>& placed);

/// Chance that k of n choices without repetition all miss a given `part` of the n (hypergeometric).
double chance_missed(double n, double part, double k);

/// Ranks (or nodes) of `parts` that a token's choices reach, its groups limited or not (DeepSeek-V3, 2024,
/// section 2.1.2), uniform choices.
double expected_parts(const MoeParams& params, int parts);

}  // namespace orrery
