#include "cost/step_pricer.hpp"

#include <algorithm>
#include <utility>

#include "cost/step_context.hpp"
#include "cost/step_lanes.hpp"
#include "cost/step_parts.hpp"
#include "cost/step_prefill.hpp"

namespace orrery {

namespace {

/// Host time of a step in integer picoseconds, and how it combines with the device's.
struct HostTime {
  explicit HostTime(const KernelPlan& plan)
      : async(plan.async_scheduling),
        per_step(to_ps(plan.host_per_step).value),
        per_seq(to_ps(plan.host_per_seq).value),
        exposed(to_ps(plan.host_exposed).value),
        exposed_prefill(to_ps(plan.host_exposed_prefill).value) {}

  std::int64_t hidden(std::int64_t seqs) const { return per_step + per_seq * seqs; }
  std::int64_t step(std::int64_t device, std::int64_t seqs, bool prefill) const {
    const std::int64_t visible = exposed + (prefill ? exposed_prefill : 0);
    return (async ? std::max(device, hidden(seqs)) : device + hidden(seqs)) + visible;
  }

  bool async;
  std::int64_t per_step, per_seq, exposed, exposed_prefill;
};

/// Rounded up, for positive numbers.
std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Sum over j < steps of first + slope * j.
double sum_of_run(std::int64_t first, std::int64_t slope, std::int64_t steps) {
  const auto n = static_cast<double>(steps);
  return static_cast<double>(first) * n + static_cast<double>(slope) * (n * (n - 1) / 2);
}

std::int64_t tokens_of(const DecodeSet& set, std::span<const PrefillChunk> chunks) {
  std::int64_t n = set.seqs;
  for (const PrefillChunk& chunk : chunks) n += chunk.new_tokens;
  return n;
}

/// Scheduled sequences: each has one row of logits.
std::int64_t rows_of(const DecodeSet& set, std::span<const PrefillChunk> chunks) {
  return set.seqs + static_cast<std::int64_t>(chunks.size());
}

}  // namespace

struct StepPricer::Impl {
  Impl(ModelSpec m, Shard s, DeviceProfile d, Topology t, KernelPlan p, KernelCostModelPtr cost)
      : model(std::move(m)),
        shard(s),
        device(std::move(d)),
        topology(std::move(t)),
        plan(std::move(p)),
        windows(model.caps().size()),
        kernels(model, shard, plan, std::move(cost)),
        host(plan),
        eager(to_ps(plan.eager_launch_per_layer * static_cast<double>(model.layers())).value),
        gaps(to_ps(plan.kernel_gap_per_layer * static_cast<double>(model.layers())).value),
        parts(kernels),
        tokens(parts),
        rows(parts, windows),
        attention(kernels, windows, model.max_model_len + model.max_model_len / 5),
        prefill(kernels, windows) {
    const std::int64_t largest = plan.graph_sizes.empty() ? 0 : plan.graph_sizes.back();
    for (std::int64_t n = 0; n <= largest; ++n) graph_size.push_back(plan.padded(n, false));
  }

  std::int64_t padded(std::int64_t n, bool has_prefill) const {
    const bool graph = n < static_cast<std::int64_t>(graph_size.size()) && (plan.graph_mixed || !has_prefill);
    return graph ? graph_size[static_cast<std::size_t>(n)] : n;
  }

  /// Device time between kernels: gaps, and the exposed launches of a step that no captured graph covers.
  std::int64_t between_ps(std::int64_t n, bool has_prefill) const {
    const bool covered =
        !plan.graph_sizes.empty() && n <= plan.graph_sizes.back() && (plan.graph_mixed || !has_prefill);
    return gaps + (covered ? 0 : eager);
  }
  /// Device time that does not depend on context.
  std::int64_t fixed(std::int64_t n, std::int64_t logit_rows, bool has_prefill) {
    return tokens.ps(padded(n, has_prefill)) + rows.ps(logit_rows) + between_ps(n, has_prefill);
  }
  std::int64_t decode_fixed(std::int64_t seqs) {
    const auto i = static_cast<std::size_t>(seqs);
    if (i >= fixed_by_seqs.size()) fixed_by_seqs.resize(i + 1, -1);
    if (fixed_by_seqs[i] < 0) fixed_by_seqs[i] = fixed(seqs, seqs, false);
    return fixed_by_seqs[i];
  }
  std::int64_t decode_attention(const DecodeSet& set) {
    std::int64_t sum = 0;
    for (std::size_t g = 0; set.seqs > 0 && g < attention.groups(); ++g) {
      const Tokens x = attention.context(g, set);
      const ContextPiece piece = attention.piece(g, set.seqs, x);
      sum += piece.base + piece.slope * (x - piece.start);
    }
    return sum;
  }
  /// Adds `steps` steps of decode attention; `growing`: the set gains a token each step. Returns their ps.
  double account_attention(const DecodeSet& set, std::int64_t steps) {
    double all = 0;
    for (std::size_t g = 0; set.seqs > 0 && g < attention.groups(); ++g) {
      const Tokens x = attention.context(g, set);
      const ContextPiece piece = attention.piece(g, set.seqs, x);
      const double ps = sum_of_run(piece.base + piece.slope * (x - piece.start),
                                   piece.slope * attention.growth(g, set), steps);
      account.add(attention.cls(g), piece.provenance, ps / kPsPerSecond);
      all += ps;
    }
    return all;
  }

  ModelSpec model;
  Shard shard;
  DeviceProfile device;
  Topology topology;
  KernelPlan plan;
  std::size_t windows;
  StepKernels kernels;
  HostTime host;
  std::int64_t eager, gaps;
  StepParts parts;
  TokenTable tokens;
  RowTable rows;
  DecodeTable attention;
  PrefillTable prefill;
  std::vector<std::int64_t> graph_size;     ///< KernelPlan::padded by tokens
  std::vector<std::int64_t> fixed_by_seqs;  ///< of decode steps; < 0: not evaluated
  ClassAccount account;                     ///< attention; the tables count their own
  double host_ps = 0;
};

StepPricer::StepPricer(ModelSpec model, Shard shard, DeviceProfile device, Topology topology, KernelPlan plan,
                       KernelCostModelPtr cost)
    : impl_(std::make_unique<Impl>(std::move(model), shard, std::move(device), std::move(topology),
                                   std::move(plan), std::move(cost))) {}
StepPricer::~StepPricer() = default;
StepPricer::StepPricer(StepPricer&&) noexcept = default;

AffinePrice StepPricer::decode(const DecodeSet& set) {
  Impl& p = *impl_;
  ORRERY_CHECK(set.seqs > 0, "a decode step of no sequences");
  std::int64_t device = p.decode_fixed(set.seqs), slope = 0, steps = kEndless;
  for (std::size_t g = 0; g < p.attention.groups(); ++g) {
    const Tokens x = p.attention.context(g, set);
    const std::int64_t growth = p.attention.growth(g, set);
    const ContextPiece piece = p.attention.piece(g, set.seqs, x);
    device += piece.base + piece.slope * (x - piece.start);
    slope += piece.slope * growth;
    if (growth > 0 && piece.end < kEndless) steps = std::min(steps, divide_up(piece.end - x, growth));
  }
  const std::int64_t hidden = p.host.hidden(set.seqs);
  if (p.host.async && device < hidden) {
    // The host bounds the step until the device takes longer.
    if (slope > 0) steps = std::min(steps, (hidden - device) / slope + 1);
    slope = 0;
  } else if (p.host.async && slope < 0) {
    steps = std::min(steps, (device - hidden) / -slope + 1);
  }
  return {Ps(p.host.step(device, set.seqs, false)), Ps(slope), steps};
}

Ps StepPricer::mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks) {
  Impl& p = *impl_;
  const std::int64_t seqs = rows_of(set, chunks);
  const std::int64_t fixed = p.fixed(tokens_of(set, chunks), seqs, true);
  return Ps(p.host.step(fixed + p.decode_attention(set) + p.prefill.ps(chunks), seqs, true));
}

void StepPricer::account_decode(const DecodeSet& set, const AffinePrice& price, std::int64_t steps) {
  Impl& p = *impl_;
  p.tokens.count(p.padded(set.seqs, false), static_cast<double>(steps));
  p.rows.count(set.seqs, static_cast<double>(steps));
  const auto fixed = static_cast<double>(p.decode_fixed(set.seqs) - p.between_ps(set.seqs, false));
  const double kernels = fixed * static_cast<double>(steps) + p.account_attention(set, steps);
  p.host_ps += sum_of_run(price.first.value, price.slope.value, steps) - kernels;
}

void StepPricer::account_mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, Ps total) {
  Impl& p = *impl_;
  const std::int64_t n = tokens_of(set, chunks), logit_rows = rows_of(set, chunks);
  p.tokens.count(p.padded(n, true), 1);
  p.rows.count(logit_rows, 1);
  const std::int64_t fixed = p.fixed(n, logit_rows, true) - p.between_ps(n, true);
  const double attention = p.account_attention(set, 1) + p.prefill.account(chunks, p.account);
  p.host_ps += static_cast<double>(total.value - fixed) - attention;
}

TimeShares StepPricer::shares() const {
  ClassAccount all = impl_->account;
  impl_->tokens.account(all);
  impl_->rows.account(all);
  TimeShares shares;
  all.add_to(shares);
  shares.host = std::max(impl_->host_ps, 0.0) / kPsPerSecond;
  return shares;
}

StepExplanation StepPricer::explain(const BatchShape& batch) const {
  const Impl& p = *impl_;
  BatchShape shape = batch;
  const bool has_prefill = !shape.chunks.empty();
  if (shape.padded_tokens == 0) shape.padded_tokens = p.plan.padded(shape.tokens(), has_prefill);
  KernelCalls calls;
  p.kernels.lower(shape, calls);
  StepExplanation out;
  LongestPath path;
  for (const KernelCall& call : calls) {
    if (!call.cls) {
      path.add(call.mark, call.lane, 0);
      continue;
    }
    const KernelTime time = p.kernels.price(call);
    const Seconds total = time.time * (call.repeat * p.kernels.factor(call));
    path.add(call.mark, call.lane, total.value);
    out.calls.push_back({call, time, total});
  }
  const Ps between(p.between_ps(shape.tokens(), has_prefill));
  out.device = Seconds(path.seconds()) + to_seconds(between);
  out.total = to_seconds(Ps(p.host.step(to_ps(out.device).value, shape.logit_rows(), has_prefill)));
  out.host = out.total - out.device;
  return out;
}

const ModelSpec& StepPricer::model() const {
  return impl_->model;
}
const Shard& StepPricer::shard() const {
  return impl_->shard;
}
const DeviceProfile& StepPricer::device() const {
  return impl_->device;
}
const KernelPlan& StepPricer::plan() const {
  return impl_->plan;
}
const KernelCostModel& StepPricer::cost() const {
  return impl_->kernels.cost();
}

}  // namespace orrery
