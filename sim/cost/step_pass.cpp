#include "cost/step_pass.hpp"

#include <algorithm>
#include <utility>

#include "ops/context_parallel.hpp"

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
                     KernelCostModelPtr cost, OperatorPtr input)
    : plan(engine),
      windows(model.caps().size()),
      prompt_ranks(shard.cp),
      kernels(model, shard, plan, std::move(cost), std::move(input)),
      eager(per_layer_ps(plan.eager_launch_per_layer, model)),
      gaps(per_layer_ps(plan.kernel_gap_per_layer, model)),
      parts(kernels),
      tokens(parts),
      pooled(parts, true),
      rows(parts, windows),
      prefill(kernels, windows) {
  const std::int64_t largest = plan.graph_sizes.empty() ? 0 : plan.graph_sizes.back();
  for (std::int64_t n = 0; n <= largest; ++n) graph_size.push_back(plan.padded(n, false));
}

std::int64_t StepModel::padded(std::int64_t n, bool has_prefill) const {
  const bool graph = n < static_cast<std::int64_t>(graph_size.size()) && (plan.graph_mixed || !has_prefill);
  return graph ? graph_size[static_cast<std::size_t>(n)] : n;
}

bool StepModel::covered(std::int64_t n, bool has_prefill) const {
  return !plan.graph_sizes.empty() && n <= plan.graph_sizes.back() && (plan.graph_mixed || !has_prefill);
}

StepPass::StepPass(StepModel& model, PassForm form, Tokens longest, std::int64_t pace_steps)
    : model_(&model),
      form_(form),
      attention_(model.kernels, model.windows, longest, form.queries, pace_steps) {}

std::int64_t StepPass::tokens(std::int64_t seqs, Chunks chunks) const {
  std::int64_t n = seqs * form_.queries;
  for (const PrefillChunk& chunk : chunks) {
    n += form_.prompts ? tokens_on_rank(chunk.new_tokens, model_->prompt_ranks) : 1;
  }
  return n;
}

std::int64_t StepPass::rows(std::int64_t seqs, Chunks chunks) const {
  return seqs * form_.rows + static_cast<std::int64_t>(chunks.size());
}

PassPeers StepPass::gather(std::span<const RankStep> ranks) const {
  std::int64_t most = 0, all = 0;
  bool covered = true;
  for (const RankStep& rank : ranks) {
    const std::int64_t n =
        rank.idle() ? form_.queries
                    : rank.decode_seqs * form_.queries + (form_.prompts ? rank.chunk_tokens : rank.chunks);
    covered = covered && model_->covered(n, rank.chunks > 0);
    most = std::max(most, n), all += n;
  }
  if (covered) return {model_->padded(most, false), 0};
  const auto count = static_cast<std::int64_t>(ranks.size());
  return {0, (all + count - 1) / count};
}

StepPass::Width StepPass::width(std::int64_t n, bool has_prefill, const PassPeers& peers) const {
  if (peers.alone()) {
    const std::int64_t padded = model_->padded(n, has_prefill);
    return {padded, padded};
  }
  if (peers.padded > 0) return {peers.padded, peers.padded};
  return {n, peers.pooled};
}

std::int64_t StepPass::launches(std::int64_t seqs, Chunks chunks, const PassPeers& peers) const {
  if (model_->eager == 0 || peers.padded > 0) return 0;
  return form_.times *
         (peers.alone() ? model_->launches_ps(tokens(seqs, chunks), !chunks.empty()) : model_->eager);
}

std::int64_t StepPass::kernels(const Width& w, std::int64_t logit_rows) {
  const std::int64_t own = model_->tokens.ps(w.own) + model_->rows.ps(logit_rows);
  return w.own == w.pooled ? own : own + model_->pooled.ps(w.pooled) - model_->pooled.ps(w.own);
}

void StepPass::count(const Width& w, std::int64_t logit_rows, double times) {
  model_->tokens.count(w.own, times);
  model_->rows.count(logit_rows, times);
  if (w.own == w.pooled) return;
  model_->pooled.count(w.pooled, times);
  model_->pooled.count(w.own, -times);
}

std::int64_t StepPass::decode_fixed(std::int64_t seqs, const PassPeers& peers) {
  const auto price = [&] {
    const Width w = width(seqs * form_.queries, false, peers);
    return form_.times * (kernels(w, rows(seqs, {})) + model_->gaps);
  };
  if (!peers.alone()) return price();
  const auto i = static_cast<std::size_t>(seqs);
  if (i >= fixed_by_seqs_.size()) fixed_by_seqs_.resize(i + 1, -1);
  if (fixed_by_seqs_[i] < 0) fixed_by_seqs_[i] = price();
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

std::int64_t StepPass::mixed(const DecodeSet& set, Chunks chunks, const PassPeers& peers) {
  const Width w = width(tokens(set.seqs, chunks), true, peers);
  const std::int64_t fixed = kernels(w, rows(set.seqs, chunks)) + model_->gaps;
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

double StepPass::account_decode(const DecodeSet& set, std::int64_t steps, const PassPeers& peers) {
  const Width w = width(set.seqs * form_.queries, false, peers);
  count(w, rows(set.seqs, {}), static_cast<double>(steps * form_.times));
  const auto fixed = static_cast<double>(decode_fixed(set.seqs, peers) - form_.times * model_->gaps);
  return fixed * static_cast<double>(steps) + account_attention(set, steps);
}

double StepPass::account_mixed(const DecodeSet& set, Chunks chunks, const PassPeers& peers) {
  const Width w = width(tokens(set.seqs, chunks), true, peers);
  const auto times = static_cast<double>(form_.times);
  count(w, rows(set.seqs, chunks), times);
  double all = times * static_cast<double>(kernels(w, rows(set.seqs, chunks))) + account_attention(set, 1);
  if (form_.prompts) all += times * model_->prefill.account(chunks, account_);
  return all;
}

void StepPass::add_to(ClassAccount& all) const {
  all.add(account_);
}

}  // namespace orrery
