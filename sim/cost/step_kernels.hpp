#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cost/kernel_cost_model.hpp"
#include "cost/kernel_plan.hpp"
#include "model/lowering.hpp"

namespace orrery {

/// The kernels a plan runs for a batch, and their times: lowering, the engine's choice of all-reduce, and the
/// plan's factors, in one place. Immutable.
class StepKernels {
 public:
  /// `input` runs on a step's tokens before the model, or is null. Errors: ConfigError as StepLowering.
  StepKernels(const ModelSpec& model, const Shard& shard, const KernelPlan& plan, KernelCostModelPtr cost,
              OperatorPtr input = nullptr);

  /// Appends the calls of one scaling (or all) as the plan runs them.
  void lower(const BatchShape& batch, KernelClass::Scaling only, KernelCalls& out) const;
  void lower(const BatchShape& batch, KernelCalls& out) const;
  /// Appends those that run on the tokens of all data-parallel ranks.
  void lower_pooled(const BatchShape& batch, KernelCalls& out) const { lowering_.lower_pooled(batch, out); }

  /// Appends those of an encoder's forward over a batch of images.
  void lower(const EncoderParams& encoder, std::span<const Image> images, KernelCalls& out) const;

  /// Time of one execution, without factors.
  KernelTime price(const KernelCall& call) const { return cost_->price(call); }
  /// What the plan multiplies it with: the class's factor, and the sustained factor of large dense kernels.
  double factor(const KernelCall& call) const;

  const KernelCostModel& cost() const { return *cost_; }

 private:
  void choose_collectives(KernelCalls& calls, std::size_t first) const;

  LoweringContext context_;
  StepLowering lowering_;
  OperatorPtr input_;
  KernelCostModelPtr cost_;
  std::vector<std::pair<std::string, double>> class_factor_;
  std::map<int, double> custom_all_reduce_max_bytes_;
  double sustained_factor_;
  double sustained_tokens_;
};

/// What joins `inputs` vectors of a model's hidden size into one before its layers; null for none. Replicated
/// on every rank (vLLM, models/llama_eagle.py: ReplicatedLinear; deepseek_mtp.py: eh_proj).
OperatorPtr joining_projection(const ModelSpec& model, int inputs);

}  // namespace orrery
