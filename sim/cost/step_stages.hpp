#pragma once

#include <deque>

#include "cost/step_pass.hpp"
#include "hw/device_profile.hpp"

namespace orrery {

/// A model along its pipeline as steps price it: each stage and, after all but the last, the link that sends
/// its hidden states on, as a model without layers. Without pipeline parallelism the model alone. Stages fill
/// one node after the other, the tensor-parallel ranks of each in one node. The plan is referred to. Errors:
/// as pipeline_stages().
std::deque<StepModel> stages_and_links(const ModelSpec& model, Shard shard, const KernelPlan& plan,
                                       const Topology& topology, const KernelCostModelPtr& cost);

/// A model whose first `on_host` layers the host computes, with their embedding (llama.cpp: layers it does
/// not offload to the GPU): those, the link over which their hidden states go, and the rest. The plans are
/// referred to.
std::deque<StepModel> host_and_gpu(const ModelSpec& model, int on_host, const Shard& shard,
                                   const KernelPlan& host_plan, const KernelPlan& plan,
                                   const KernelCostModelPtr& host, const KernelCostModelPtr& gpu);
/// What the host's cores run of a plan: its formats, one operation after the other.
KernelPlan plan_of_host(const KernelPlan& plan);

/// Whether the hidden states of `stage` (from 0) leave their node.
bool leaves_node(int stage, int tp, const Topology& topology);

}  // namespace orrery
