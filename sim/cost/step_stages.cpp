#include "cost/step_stages.hpp"

#include <algorithm>
#include <utility>

#include "cost/offload_cost.hpp"
#include "model/pipeline_stages.hpp"
#include "ops/collective.hpp"
#include "ops/copies.hpp"

namespace orrery {

bool leaves_node(int stage, int tp, const Topology& topology) {
  const int stages_of_node = std::max(1, topology.gpus_per_node / tp);
  return topology.gpus_per_node > 0 && (stage + 1) % stages_of_node == 0;
}

namespace {
ModelSpec without_layers(ModelSpec stage) {
  stage.pattern.clear();
  for (LayerKind& kind : stage.kinds) kind.count = 0;
  stage.has_embedding = stage.has_head = false;
  stage.other_parameters = 0;
  stage.encoder.reset();
  return stage;
}
}  // namespace

std::deque<StepModel> stages_and_links(const ModelSpec& model, Shard shard, const KernelPlan& plan,
                                       const Topology& topology, const KernelCostModelPtr& cost) {
  const auto stages = pipeline_stages(model, shard.pp);
  shard.pp = 1;
  std::deque<StepModel> out;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    out.emplace_back(stages[s], shard, plan, cost);
    if (s + 1 == stages.size()) break;
    const bool far = leaves_node(static_cast<int>(s), shard.tp, topology);
    out.emplace_back(without_layers(stages[s]), shard, plan, cost,
                     std::make_shared<SendRecv>(model.hidden, far));
  }
  return out;
}

std::deque<StepModel> host_and_gpu(const ModelSpec& model, int on_host, const Shard& shard,
                                   const KernelPlan& host_plan, const KernelPlan& plan,
                                   const KernelCostModelPtr& host, const KernelCostModelPtr& gpu) {
  const auto stages = stages_of(model, {on_host, model.layers() - on_host});
  const auto copy = cost_with(gpu, [gpu](const KernelCall& call) {
    return gpu->price(make_call(kCopyH2D, {call.work.link_bytes, 1}, call.dtype, call.weight_dtype))
        .time.value;
  });
  std::deque<StepModel> out;
  out.emplace_back(stages[0], shard, host_plan, host);
  out.emplace_back(without_layers(stages[0]), shard, host_plan, copy,
                   std::make_shared<SendRecv>(model.hidden, false));
  out.emplace_back(stages[1], shard, plan, gpu);
  return out;
}

KernelPlan plan_of_host(const KernelPlan& plan) {
  KernelPlan host;
  host.precision = plan.precision, host.fusion = plan.fusion;
  host.fusion.norm_residual = false;  // sums are added before the hidden state leaves: one vector a token
  host.class_factor = plan.class_factor;
  return host;
}

}  // namespace orrery
