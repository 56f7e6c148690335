#include "cost/step_pricer.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "cost/offload_lanes.hpp"
#include "cost/step_encoder.hpp"
#include "cost/step_explain.hpp"
#include "cost/step_host.hpp"
#include "cost/step_pass.hpp"
#include "cost/step_stages.hpp"
#include "model/pipeline_stages.hpp"

namespace orrery {

namespace {

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
       Image size, Offload away)
      : model(std::move(m)),
        shard(s),
        device(std::move(d)),
        topology(std::move(t)),
        plan(std::move(p)),
        draft_plan(plan),
        host_plan(plan_of_host(plan)),
        offload(std::move(away)),
        drafting(std::move(how)),
        host(plan, drafting, shard.pp),
        image(size),
        target(parts_of_target(cost)) {
    ORRERY_CHECK(shard.pp == 1 || drafting.queries == 1, "speculation in a pipeline is not modelled");
    if (model.encoder && image.width > 0)
      encoder.emplace(target.front().kernels, *model.encoder, image, plan);
    if (drafting.model && drafting.passes > 0) {
      if (drafting.precision) draft_plan.precision = *drafting.precision;
      draft = std::make_unique<StepModel>(*drafting.model, shard, draft_plan, cost,
                                          joining_projection(*drafting.model, drafting.joined_inputs));
    }
    passes = passes_of(target, draft.get(), model, drafting);
    if (!offload.policy.still() && model.layers() > offload.policy.host_layers) {
      lanes = std::make_unique<OffloadLanes>(without_first(model, offload.policy.host_layers), shard, plan,
                                             offload, cost, drafting);
    }
  }

  std::deque<StepModel> parts_of_target(const KernelCostModelPtr& cost) const {
    const KernelCostModelPtr gpu = cost_beside_host(cost, offload);
    const int on_host = offload.policy.host_layers;
    if (on_host == 0) return stages_and_links(model, shard, plan, topology, gpu);
    ORRERY_CHECK(shard.pp == 1, "layers on the host, in a pipeline");
    return host_and_gpu(model, on_host, shard, host_plan, plan, host_cost(offload.host), gpu);
  }

  /// What the passes of a decode step compute.
  ContextPrice computed(const DecodeSet& set, const StepPeers& peers) {
    ContextPrice sum;
    for (std::size_t i = 0; i < passes.size(); ++i) {
      const ContextPrice attention = passes[i].decode_attention(set);
      sum.ps += passes[i].decode_fixed(set.seqs, peers_of(i, peers)) + attention.ps;
      sum.rise += attention.rise;
      sum.steps = std::min(sum.steps, attention.steps);
    }
    return sum;
  }
  std::int64_t launches(std::int64_t seqs, std::span<const PrefillChunk> chunks,
                        const StepPeers& peers) const {
    std::int64_t ps = 0;
    for (std::size_t i = 0; i < passes.size(); ++i)
      ps += passes[i].launches(seqs, chunks, peers_of(i, peers));
    return ps;
  }
  std::int64_t computed(const DecodeSet& set, std::span<const PrefillChunk> chunks, const StepPeers& peers) {
    std::int64_t ps = encoder ? encoder->ps(chunks) : 0;
    for (std::size_t i = 0; i < passes.size(); ++i) ps += passes[i].mixed(set, chunks, peers_of(i, peers));
    return ps;
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
  KernelPlan plan, draft_plan, host_plan;
  Offload offload;
  Drafting drafting;
  HostTime host;
  Image image;
  std::deque<StepModel> target;  ///< stages and, between them, links
  std::optional<EncoderTable> encoder;
  ClassAccount encoded;
  std::unique_ptr<StepModel> draft;
  std::vector<StepPass> passes;
  std::unique_ptr<OffloadLanes> lanes;  ///< none where everything lies on the GPU
  ClassAccount moved;                   ///< what shows of them
  double host_ps = 0, draft_ps = 0;
};

StepPricer::StepPricer(ModelSpec model, Shard shard, DeviceProfile device, Topology topology, KernelPlan plan,
                       KernelCostModelPtr cost, Drafting drafting, Image image, Offload offload)
    : impl_(std::make_unique<Impl>(std::move(model), shard, std::move(device), std::move(topology),
                                   std::move(plan), std::move(cost), std::move(drafting), image,
                                   std::move(offload))) {}
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
  ContextPrice price = p.computed(set, peers);
  if (p.lanes) price = p.lanes->decode(set, price);
  const std::int64_t device = price.ps, launches = p.launches(set.seqs, {}, peers);
  std::int64_t slope = price.rise, steps = price.steps;
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
  std::int64_t device = p.computed(set, chunks, peers);
  if (p.lanes) device = p.lanes->mixed(set, chunks, device);
  const std::int64_t launches = p.launches(set.seqs, chunks, peers);
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
  Impl& p = *impl_;
  const auto n = static_cast<double>(steps);
  double total =
      static_cast<double>(price.first.value) * n + static_cast<double>(price.slope.value) * (n * (n - 1) / 2);
  if (p.lanes) total -= p.lanes->account_decode(set, p.computed(set, peers), steps, p.moved);
  p.count(total, [&](StepPass& pass, std::size_t i) {
    return pass.account_decode(set, steps, p.peers_of(i, peers));
  });
}

void StepPricer::account_mixed(const DecodeSet& set, std::span<const PrefillChunk> chunks, Ps total,
                               const StepPeers& peers) {
  Impl& p = *impl_;
  auto ps = static_cast<double>(total.value);
  if (p.lanes) ps -= p.lanes->account_mixed(set, chunks, p.computed(set, chunks, peers), p.moved);
  p.count(ps, [&](StepPass& pass, std::size_t i) {
    double kernels = pass.account_mixed(set, chunks, p.peers_of(i, peers));
    if (i == 0 && p.encoder) kernels += p.encoder->account(chunks, p.encoded);
    return kernels;
  });
}

TimeShares StepPricer::shares() const {
  ClassAccount all;
  for (const StepPass& pass : impl_->passes) pass.add_to(all);
  all.add(impl_->encoded);
  all.add(impl_->moved);
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
  out.computed = out.device;
  if (p.lanes) out.device = p.lanes->explain(batch, out.computed, out);
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
const Offload& StepPricer::offload() const {
  return impl_->offload;
}
Image StepPricer::image() const {
  return impl_->image;
}
Tokens StepPricer::image_tokens() const {
  return impl_->encoder ? impl_->encoder->tokens_each() : 0;
}

}  // namespace orrery
