#include "cost/step_pass.hpp"

#include <algorithm>

#include "ops/linear.hpp"

namespace orrery {

namespace {

/// Sum over j < steps of first + slope * j.
double sum_of_run(std::int64_t first, std::int64_t slope, std::int64_t steps) {
  const auto n = static_cast<double>(steps);
  return static_cast<double>(first) * n + static_cast<double>(slope) * (n * (n - 1) / 2);
}

std::int64_t per_layer_ps(Seconds each, const ModelSpec& model) {
  return to_ps(each * static_cast<double>(model.layers())).value;
}

}  // namespace

StepModel::StepModel(const ModelSpec& model, const Shard& shard, const KernelPlan& engine,
                     KernelCostModelPtr cost, int joined_inputs)
    : plan(engine),
      windows(model.caps().size()),
      kernels(model, shard, plan, std::move(cost), joining_projection(model, joined_inputs)),
      eager(per_layer_ps(plan.eager_launch_per_layer, model)),
      gaps(per_layer_ps(plan.kernel_gap_per_layer, model)),
      parts(kernels),
      tokens(parts),
      rows(parts, windows),
      prefill(kernels, windows) {
  const std::int64_t largest = plan.graph_sizes.empty() ? 0 : plan.graph_sizes.back();
  for (std::int64_t n = 0; n <= largest; ++n) graph_size.push_back(plan.padded(n, false));
}

std::int64_t StepModel::padded(std::int64_t n, bool has_prefill) const {
  const bool graph = n < static_cast<std::int64_t>(graph_size.size()) && (plan.graph_mixed || !has_prefill);
  return graph ? graph_size[static_cast<std::size_t>(n)] : n;
}

std::int64_t StepModel::between_ps(std::int64_t n, bool has_prefill) const {
  const bool covered =
      !plan.graph_sizes.empty() && n <= plan.graph_sizes.back() && (plan.graph_mixed || !has_prefill);
  return gaps + (covered ? 0 : eager);
}

StepPass::StepPass(StepModel& model, PassForm form, Tokens longest, std::int64_t pace_steps)
    : model_(&model),
      form_(form),
      attention_(model.kernels, model.windows, longest, form.queries, pace_steps) {}

std::int64_t StepPass::tokens(std::int64_t seqs, Chunks chunks) const {
  std::int64_t n = seqs * form_.queries;
  for (const PrefillChunk& chunk : chunks) n += form_.prompts ? chunk.new_tokens : 1;
  return n;
}

std::int64_t StepPass::rows(std::int64_t seqs, Chunks chunks) const {
  return seqs * form_.rows + static_cast<std::int64_t>(chunks.size());
}

std::int64_t StepPass::decode_fixed(std::int64_t seqs) {
  const auto i = static_cast<std::size_t>(seqs);
  if (i >= fixed_by_seqs_.size()) fixed_by_seqs_.resize(i + 1, -1);
  if (fixed_by_seqs_[i] < 0) {
    const std::int64_t n = seqs * form_.queries;
    fixed_by_seqs_[i] = form_.times * (model_->tokens.ps(model_->padded(n, false)) +
                                       model_->rows.ps(rows(seqs, {})) + model_->between_ps(n, false));
  }
  return fixed_by_seqs_[i];
}

ContextPrice StepPass::decode_attention(const DecodeSet& set) {
  ContextPrice sum;
  for (std::size_t g = 0; set.seqs > 0 && g < attention_.groups(); ++g) {
    const ContextPrice group = attention_.price(g, set);
    sum.ps += form_.times * group.ps;
    sum.rise += form_.times * group.rise;
    sum.steps = std::min(sum.steps, group.steps);
  }
  return sum;
}

std::int64_t StepPass::mixed(const DecodeSet& set, Chunks chunks) {
  const std::int64_t n = tokens(set.seqs, chunks);
  const std::int64_t fixed = model_->tokens.ps(model_->padded(n, true)) +
                             model_->rows.ps(rows(set.seqs, chunks)) + model_->between_ps(n, true);
  return form_.times * fixed + decode_attention(set).ps +
         (form_.prompts ? form_.times * model_->prefill.ps(chunks) : 0);
}

double StepPass::account_attention(const DecodeSet& set, std::int64_t steps) {
  double all = 0;
  for (std::size_t g = 0; set.seqs > 0 && g < attention_.groups(); ++g) {
    const ContextPrice price = attention_.price(g, set);
    const double ps = static_cast<double>(form_.times) * sum_of_run(price.ps, price.rise, steps);
    account_.add(attention_.cls(g), price.provenance, ps / kPsPerSecond);
    all += ps;
  }
  return all;
}

double StepPass::account_decode(const DecodeSet& set, std::int64_t steps) {
  const std::int64_t n = set.seqs * form_.queries;
  const auto count = static_cast<double>(steps * form_.times);
  model_->tokens.count(model_->padded(n, false), count);
  model_->rows.count(rows(set.seqs, {}), count);
  const auto fixed = static_cast<double>(decode_fixed(set.seqs) - form_.times * model_->between_ps(n, false));
  return fixed * static_cast<double>(steps) + account_attention(set, steps);
}

double StepPass::account_mixed(const DecodeSet& set, Chunks chunks) {
  const std::int64_t n = tokens(set.seqs, chunks), logit_rows = rows(set.seqs, chunks);
  const auto times = static_cast<double>(form_.times);
  model_->tokens.count(model_->padded(n, true), times);
  model_->rows.count(logit_rows, times);
  const std::int64_t fixed = model_->tokens.ps(model_->padded(n, true)) + model_->rows.ps(logit_rows);
  double kernels = times * static_cast<double>(fixed) + account_attention(set, 1);
  if (form_.prompts) kernels += times * model_->prefill.account(chunks, account_);
  return kernels;
}

void StepPass::add_to(ClassAccount& all) const {
  all.add(account_);
}

}  // namespace orrery
