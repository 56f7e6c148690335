#include "cost/step_pricer.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "cost/step_encoder.hpp"
#include "cost/step_lanes.hpp"
#include "cost/step_pass.hpp"
#include "cost/step_stages.hpp"
#include "ops/context_parallel.hpp"

namespace orrery {

namespace {

/// Host time of a step in integer picoseconds, and how it combines with the device's. Each stage of a
/// pipeline has a worker whose own part shows. What a batch's scheduling could hide behind is other batches:
/// its sequences are planned again when it returns.
struct HostTime {
  HostTime(const KernelPlan& plan, const Drafting& drafting, int workers)
      : async(plan.async_scheduling && workers == 1),
        stages(workers),
        per_step(to_ps(plan.host_per_step).value),
        per_seq(to_ps(plan.host_per_seq).value),
        exposed(to_ps(plan.host_exposed + drafting.host).value),
        exposed_prefill(to_ps(plan.host_exposed_prefill).value) {}

  std::int64_t hidden(std::int64_t seqs) const { return per_step + per_seq * seqs; }
  std::int64_t worker(bool prefill) const { return exposed + (prefill ? exposed_prefill : 0); }
  /// What a step takes at least, whatever the device: launches, and what async scheduling hides behind it.
  std::int64_t floor(std::int64_t launches, std::int64_t seqs) const {
    return async ? std::max(launches, hidden(seqs)) : launches;
  }
  std::int64_t step(std::int64_t device, std::int64_t launches, std::int64_t seqs, bool prefill) const {
    return std::max(device, floor(launches, seqs)) + (async ? 0 : hidden(seqs)) + stages * worker(prefill);
  }

  bool async;
  std::int64_t stages;
  std::int64_t per_step, per_seq, exposed, exposed_prefill;
};

/// The passes of a step, the target's first: those of its stages and links in turn.
std::vector<StepPass> passes_of(std::deque<StepModel>& target, StepModel* draft, const ModelSpec& model,
                                const Drafting& drafting) {
  const auto longest = [](const ModelSpec& m) { return m.max_model_len + m.max_model_len / 5; };
  std::vector<StepPass> passes;
  passes.reserve(target.size() + 2);
  const std::int64_t q = drafting.queries;
  for (StepModel& part : target)
    passes.emplace_back(part, PassForm{q, q, true, 1}, longest(model), drafting.pace_steps);
  if (draft == nullptr) return passes;
  const Tokens drafted = std::max(longest(model), longest(*drafting.model));
  passes.emplace_back(*draft, PassForm{q, 1, true, 1}, drafted, drafting.pace_steps);
  if (drafting.passes > 1) {
    passes.emplace_back(*draft, PassForm{1, 1, false, drafting.passes - 1}, drafted, drafting.pace_steps);
  }
  return passes;
}

}  // namespace

struct StepPricer::Impl {
  Impl(ModelSpec m, Shard s, DeviceProfile d, Topology t, KernelPlan p, KernelCostModelPtr cost, Drafting how,
       Image size)
      : model(std::move(m)),
        shard(s),
        device(std::move(d)),
        topology(std::move(t)),
        plan(std::move(p)),
        draft_plan(plan),
        drafting(std::move(how)),
        host(plan, drafting, shard.pp),
        image(size),
        target(stages_and_links(model, shard, plan, topology, cost)) {
    ORRERY_CHECK(shard.pp == 1 || drafting.queries == 1, "speculation in a pipeline is not modelled");
    if (model.encoder && image.width > 0)
      encoder.emplace(target.front().kernels, *model.encoder, image, plan);
    if (drafting.model && drafting.passes > 0) {
      if (drafting.precision) draft_plan.precision = *drafting.precision;
      draft = std::make_unique<StepModel>(*drafting.model, shard, draft_plan, std::move(cost),
                                          joining_projection(*drafting.model, drafting.joined_inputs));
    }
    passes = passes_of(target, draft.get(), model, drafting);
  }

  /// Peers of the i-th pass: all of a pipeline's stages have those of the target.
  const PassPeers& peers_of(std::size_t i, const StepPeers& peers) const {
    return peers.passes[i < target.size() ? 0 : i - target.size() + 1];
  }

  /// Counts a step or run of `total_ps`; `account` counts one pass of it and returns its kernels' ps.
  template <class Account>
  void count(double total_ps, Account account) {
    for (std::size_t i = 0; i < passes.size(); ++i) {
      const double kernels = account(passes[i], i);
      total_ps -= kernels;
      if (i >= target.size()) draft_ps += kernels;
    }
    host_ps += total_ps;
  }

  ModelSpec model;
  Shard shard;
  DeviceProfile device;
  Topology topology;
  KernelPlan plan, draft_plan;
  Drafting drafting;
  HostTime host;
  Image image;
  std::deque<StepModel> target;  ///< stages and, between them, links
  std::optional<EncoderTable> encoder;
  ClassAccount encoded;
  std::unique_ptr<StepModel> draft;
  std::vector<StepPass> passes;
  double host_ps = 0, draft_ps = 0;
};

StepPricer::StepPricer(ModelSpec model, Shard shard, DeviceProfile device, Topology topology, KernelPlan plan,
                       KernelCostModelPtr cost, Drafting drafting, Image image)
    : impl_(std::make_unique<Impl>(std::move(model), shard, std::move(device), std::move(topology),
                                   std::move(plan), std::move(cost), std::move(drafting), image)) {}
StepPricer::~StepPricer() = default;
StepPricer::StepPricer(StepPricer&&) noexcept = default;

StepPeers StepPricer::gather(std::span<const RankStep> ranks) const {
  StepPeers peers;
  if (ranks.size() < 2) return peers;
  peers.passes[0] = impl_->passes[0].gather(ranks);
  for (std::size_t i = impl_->target.size(); i < impl_->passes.size(); ++i)
    peers.passes[i - impl_->target.size() + 1] = impl_->passes[i].gather(ranks);
  return peers;
}

AffinePrice StepPricer::decode(const DecodeSet& set, const StepPeers& peers) {
  Impl& p = *impl_;
  ORRERY_CHECK(set.seqs > 0, "a decode step of no sequences");
  std::int64_t device = 0, launches = 0, slope = 0, steps = kEndless;
  for (std::size_t i = 0; i < p.passes.size(); ++i) {
    StepPass& pass = p.passes[i];
    const ContextPrice attention = pass.decode_attention(set);
    device += pass.decode_fixed(set.seqs, p.peers_of(i, peers)) + attention.ps;
    launches += pass.launches(set.seqs, {}, p.peers_of(i, peers));
    slope += attention.rise;
    steps = std::min(steps, attention.steps);
  }
  const std::int64_t floor = p.host.floor(launches, set.seqs);
  if (device < floor) {
    // The host bounds the step until the device takes longer.
    if (slope > 0) steps = std::min(steps, (floor - device) / slope + 1);
    slope = 0;
  } else if (floor > 0 && slope < 0) {
    steps = std::min(steps, (device - floor) / -slope + 1);
  }
  return {Ps(p.host.step(device, launches, set.seqs, false)), Ps(slope), steps};
}

Ps StepPricer::mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, const StepPeers& peers) {
  Impl& p = *impl_;
  std::int64_t device = 0, launches = 0;
  for (std::size_t i = 0; i < p.passes.size(); ++i) {
    device += p.passes[i].mixed(set, chunks, p.peers_of(i, peers));
    launches += p.passes[i].launches(set.seqs, chunks, p.peers_of(i, peers));
  }
  if (p.encoder) device += p.encoder->ps(chunks);
  const std::int64_t scheduled = set.seqs + static_cast<std::int64_t>(chunks.size());
  return Ps(p.host.step(device, launches, scheduled, true));
}

void StepPricer::stage_times(const DecodeSet& set, std::span<const PrefillChunk> chunks, StageTimes& out) {
  Impl& p = *impl_;
  out.host = Ps(p.host.hidden(set.seqs + static_cast<std::int64_t>(chunks.size())));
  out.stages.clear(), out.links.clear();
  for (std::size_t i = 0; i < p.target.size(); ++i) {
    StepPass& pass = p.passes[i];
    std::int64_t device = chunks.empty() ? pass.decode_fixed(set.seqs, {}) + pass.decode_attention(set).ps
                                         : pass.mixed(set, chunks, {});
    if (i == 0 && p.encoder) device += p.encoder->ps(chunks);
    if (i % 2 == 0) {
      device = std::max(device, pass.launches(set.seqs, chunks, {}));
      out.stages.emplace_back(device + p.host.worker(!chunks.empty()));
    } else {
      out.links.emplace_back(device);
    }
  }
}

void StepPricer::account_decode(const DecodeSet& set, const AffinePrice& price, std::int64_t steps,
                                const StepPeers& peers) {
  const auto n = static_cast<double>(steps);
  impl_->count(
      static_cast<double>(price.first.value) * n + static_cast<double>(price.slope.value) * (n * (n - 1) / 2),
      [&](StepPass& pass, std::size_t i) {
        return pass.account_decode(set, steps, impl_->peers_of(i, peers));
      });
}

void StepPricer::account_mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, Ps total,
                               const StepPeers& peers) {
  impl_->count(static_cast<double>(total.value), [&](StepPass& pass, std::size_t i) {
    double kernels = pass.account_mixed(set, chunks, impl_->peers_of(i, peers));
    if (i == 0 && impl_->encoder) kernels += impl_->encoder->account(chunks, impl_->encoded);
    return kernels;
  });
}

TimeShares StepPricer::shares() const {
  ClassAccount all;
  for (const StepPass& pass : impl_->passes) pass.add_to(all);
  all.add(impl_->encoded);
  const auto add_tables = [&](const StepModel& m) {
    m.tokens.account(all), m.pooled.account(all), m.rows.account(all);
  };
  for (const StepModel& part : impl_->target) add_tables(part);
  if (impl_->draft) add_tables(*impl_->draft);
  TimeShares shares;
  all.add_to(shares);
  shares.host = std::max(impl_->host_ps, 0.0) / kPsPerSecond;
  shares.draft = impl_->draft_ps / kPsPerSecond;
  return shares;
}

namespace {

/// Adds the calls of one pass to an explanation, as many times as it runs, and the time of its launches;
/// returns its device time.
Seconds explain_pass(const StepPass& pass, const BatchShape& batch, StepExplanation& out,
                     std::int64_t& launches) {
  const StepModel& m = pass.model();
  BatchShape shape = batch;
  const bool has_prefill = !shape.chunks.empty();
  shape.decode_queries = pass.form().queries;
  shape.decode_context += shape.decode_seqs * (shape.decode_queries - 1);
  if (!pass.form().prompts)
    shape.decode_seqs += static_cast<std::int64_t>(shape.chunks.size()), shape.chunks.clear();
  const Tokens tokens = tokens_of_rank(shape, m.prompt_ranks).tokens();
  if (shape.padded_tokens == 0) shape.padded_tokens = m.plan.padded(tokens, has_prefill);
  KernelCalls calls;
  m.kernels.lower(shape, calls);
  LongestPath path;
  const auto times = static_cast<double>(pass.form().times);
  for (KernelCall& call : calls) {
    if (!call.cls) {
      path.add(call.mark, call.lane, 0);
      continue;
    }
    const KernelTime time = m.kernels.price(call);
    call.repeat *= times;
    const Seconds total = time.time * (call.repeat * m.kernels.factor(call));
    path.add(call.mark, call.lane, total.value);
    out.calls.push_back({call, time, total});
  }
  launches += m.launches_ps(tokens, has_prefill) * pass.form().times;
  return Seconds(path.seconds()) + to_seconds(Ps(m.gaps * pass.form().times));
}

/// Adds the calls of the encoder; returns its device time.
Seconds explain_encoder(const EncoderTable& encoder, const StepKernels& kernels, std::int64_t images,
                        StepExplanation& out) {
  KernelCalls calls;
  encoder.lower(images, calls);
  Seconds sum = to_seconds(Ps(encoder.between_ps()));
  for (const KernelCall& call : calls) {
    const KernelTime time = kernels.price(call);
    const Seconds total = time.time * (call.repeat * kernels.factor(call));
    out.calls.push_back({call, time, total});
    sum += total;
  }
  return sum;
}

}  // namespace

StepExplanation StepPricer::explain(const BatchShape& batch) const {
  const Impl& p = *impl_;
  StepExplanation out;
  std::int64_t launches = 0;
  for (std::size_t i = 0; i < p.passes.size(); ++i) {
    Seconds device{0};
    if (const std::int64_t images = images_of(batch.chunks); i == 0 && p.encoder && images > 0)
      device += explain_encoder(*p.encoder, p.target.front().kernels, images, out);
    device += explain_pass(p.passes[i], batch, out, launches);
    if (i % 2 == 0 && i < p.target.size()) out.stages.push_back(device);
    out.device += device;
  }
  const std::int64_t scheduled = batch.decode_seqs + static_cast<std::int64_t>(batch.chunks.size());
  out.total =
      to_seconds(Ps(p.host.step(to_ps(out.device).value, launches, scheduled, !batch.chunks.empty())));
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
  return impl_->target.front().kernels.cost();
}
const Drafting& StepPricer::drafting() const {
  return impl_->drafting;
}
Image StepPricer::image() const {
  return impl_->image;
}
Tokens StepPricer::image_tokens() const {
  return impl_->encoder ? impl_->encoder->tokens_each() : 0;
}

}  // namespace orrery
