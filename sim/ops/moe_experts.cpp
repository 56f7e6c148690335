#include "ops/moe_experts.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/moe.hpp"

namespace orrery {

BatchShape batch_of_rows(double rows) {
  BatchShape batch;
  batch.padded_tokens = static_cast<std::int64_t>(std::ceil(rows - 1e-9));
  return batch;
}

RouterProjection::RouterProjection(const MoeParams& params, std::int64_t hidden)
    : hidden_(static_cast<double>(hidden)), choices_(params.choices()), bias_(params.router_bias) {}

void RouterProjection::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto tokens = std::ceil(static_cast<double>(batch.dense_tokens()) / ExpertSplit(ctx).token_parts);
  if (tokens == 0) return;
  const DType format = ctx.precision.activation;
  out.push_back(make_call(kGemm, {tokens, choices_, hidden_}, format, format));
  out.back().role = "router";
}
double RouterProjection::parameters() const {
  return choices_ * (hidden_ + (bias_ ? 1 : 0));
}
double RouterProjection::weight_bytes(const LoweringContext& ctx) const {
  return parameters() * bytes_per_element(ctx.precision.activation);
}

ExpertRouting::ExpertRouting(const MoeParams& params, std::int64_t hidden)
    : params_(params), hidden_(static_cast<double>(params.expert_hidden(hidden))) {}

void ExpertRouting::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const ExpertSplit split(ctx);
  const auto own = static_cast<double>(batch.dense_tokens());
  if (own == 0) return;
  const double tokens =
      split.dispatched ? std::ceil(own / split.token_parts) : own * (split.gathered ? split.token_sets : 1);
  // Without dispatch a rank permutes the rows of its own experts alone.
  const double rows = params_.mean_active() / (split.dispatched ? 1 : split.ranks);
  const auto& cls = params_.router == ExpertRouter::expert ? kMoeExpertChoice : kMoeRouting;
  const DType format = ctx.precision.activation;
  const double choices = params_.router == ExpertRouter::hash ? 0 : params_.choices();
  out.push_back(make_call(cls, {tokens, choices, rows, hidden_}, format, format));
  out.back().role = "routing";
}

RoutedExperts::RoutedExperts(const MoeParams& params, std::int64_t hidden)
    : params_(params),
      hidden_(static_cast<double>(params.expert_hidden(hidden))),
      chances_(expert_chances(params)) {}

std::vector<RoutedExperts::Matrix> RoutedExperts::matrices(int width_parts) const {
  const double ups = params_.gated ? 2 : 1;
  if (params_.lora_rank > 0) {
    const auto rank = static_cast<double>(params_.lora_rank),
               width = static_cast<double>(params_.shared_experts * params_.shared_width) / width_parts;
    if (params_.lora_whole) return {{"adapters_a", rank, hidden_}, {"adapters_b", hidden_, rank}};
    return {{"adapters_a", ups * rank, hidden_},
            {"adapters_b", ups * width, rank},
            {"adapters_a", rank, width},
            {"adapters_b", hidden_, rank}};
  }
  const auto width = static_cast<double>(params_.width) / width_parts;
  return {{"experts_up", ups * width, hidden_}, {"experts_down", hidden_, width}};
}

double RoutedExperts::parameters_of_one() const {
  double sum = 0;
  for (const auto& m : matrices(1)) sum += m.n * m.k + (params_.bias ? m.n : 0);
  return sum;
}
double RoutedExperts::parameters() const {
  return params_.experts * parameters_of_one();
}
double RoutedExperts::active_parameters() const {
  return params_.mean_active() * parameters_of_one();
}

double RoutedExperts::weight_bytes(const LoweringContext& ctx) const {
  const ExpertSplit split(ctx);
  const int copies = (params_.experts + ctx.fusion.experts.redundant) / split.ranks;
  double sum = 0;
  for (const auto& m : matrices(split.width_parts)) {
    sum += copies * (stored_matrix_bytes(ctx.precision.linear(Module::experts), m.k, m.n) +
                     (params_.bias ? m.n * bytes_per_element(ctx.precision.activation) : 0));
  }
  return sum;
}

ExpertRows RoutedExperts::rows(double own_tokens, const LoweringContext& ctx) const {
  const ExpertSplit split(ctx);
  const auto& plan = ctx.fusion.experts;
  const double tokens = own_tokens * split.token_sets;
  const double experts = params_.experts, mean = tokens * params_.mean_active() / experts;
  const int whole = (params_.experts + plan.redundant) / split.ranks;
  const double local = whole;
  const double factor = params_.capacity_factor;
  if (params_.router == ExpertRouter::expert) {
    const double capacity = std::clamp(std::ceil((factor > 0 ? factor : 1) * mean), 1.0, tokens);
    return {local * capacity, local, local};
  }
  if (params_.router == ExpertRouter::soft) return {local * params_.slots, local, local};
  if (plan.products == ExpertProducts::padded) {
    const double capacity =
        factor > 0 ? std::ceil(factor * mean)
                   : std::ceil(slowest_rows(place_experts(chances_, params_.experts, {}), tokens));
    return {local * capacity, local, local};
  }
  const auto placed = place_experts(chances_, split.ranks, plan);
  const auto load = [](const ExpertRank& r) { return std::accumulate(r.begin(), r.end(), 0.0); };
  const auto& busiest = *std::max_element(placed.begin(), placed.end(),
                                          [&](const auto& a, const auto& b) { return load(a) < load(b); });
  double rows = slowest_rows(placed, tokens);
  if (factor > 0) rows *= kept_share(busiest, tokens, std::ceil(factor * mean));
  const double needed = tokens * load(busiest);
  if (plan.tile_rows > 1 && needed > 0) rows *= padded_rows(busiest, tokens, plan.tile_rows) / needed;
  return {rows, expected_distinct(busiest, tokens), local};
}

void RoutedExperts::push(const Matrix& m, const ExpertRows& r, const LoweringContext& ctx,
                         KernelCalls& out) const {
  const LinearFormat format = ctx.precision.linear(Module::experts);
  const double bias = params_.bias ? m.n * bytes_per_element(ctx.precision.activation) : 0;
  const bool grouped = ctx.fusion.experts.products != ExpertProducts::looped;
  KernelCall call = grouped ? make_call(kGroupedGemm, {r.rows, m.n, m.k, r.experts, r.active}, format.compute,
                                        format.weight)
                            : make_call(kGemm, {r.rows, m.n, m.k}, format.compute, format.weight);
  const double stored = r.active * (stored_matrix_bytes(format, m.k, m.n) + bias);
  call.work.hbm_read_bytes += stored - call.work.weight_bytes;
  call.work.weight_bytes = stored;
  call.role = m.role;
  out.push_back(call);
}

void RoutedExperts::launch(const ExpertRows& r, const LoweringContext& ctx, KernelCalls& out) const {
  const int parts = ExpertSplit(ctx).width_parts;
  LoweringContext local = ctx;  // the width is divided already
  local.shard = Shard{};
  const auto all = matrices(parts);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (params_.lora_rank == 0 && i + 1 == all.size()) {
      const auto rows = batch_of_rows(r.rows);
      const std::int64_t width = params_.width / parts;
      Activation(width, params_.gated, Module::experts).lower(rows, local, out);
      Quantise(UnitGroup{width}, false, Producer::activation, Module::experts).lower(rows, local, out);
    }
    push(all[i], r, ctx, out);
  }
}

void RoutedExperts::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.dense_tokens() == 0) return;
  const ExpertRows r = rows(static_cast<double>(batch.dense_tokens()), ctx);
  if (r.rows <= 0) return;
  if (ctx.fusion.experts.products != ExpertProducts::looped) return launch(r, ctx, out);
  for (double left = r.active; left > 1e-9; --left) {
    const double share = std::min(left, 1.0);  // of the last expert, which some steps do not hit
    launch({share * r.rows / r.active, share, 1}, ctx, out);
  }
}

}  // namespace orrery
