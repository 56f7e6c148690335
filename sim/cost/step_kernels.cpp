#include "cost/step_kernels.hpp"

#include "ops/kernel_classes.hpp"

namespace orrery {

StepKernels::StepKernels(const ModelSpec& model, const Shard& shard, const KernelPlan& plan,
                         KernelCostModelPtr cost)
    : lowering_(model, LoweringContext{shard, plan.precision, plan.fusion}),
      cost_(std::move(cost)),
      class_factor_(plan.class_factor.begin(), plan.class_factor.end()),
      custom_all_reduce_max_bytes_(plan.custom_all_reduce_max_bytes),
      sustained_factor_(plan.sustained_gemm_factor),
      sustained_tokens_(static_cast<double>(plan.sustained_tokens)) {}

void StepKernels::lower(const BatchShape& batch, KernelClass::Scaling only, KernelCalls& out) const {
  const std::size_t first = out.size();
  lowering_.lower(batch, only, out);
  if (only == KernelClass::Scaling::tokens) choose_collectives(out, first);
}

void StepKernels::lower(const BatchShape& batch, KernelCalls& out) const {
  const std::size_t first = out.size();
  lowering_.lower(batch, out);
  choose_collectives(out, first);
}

void StepKernels::choose_collectives(KernelCalls& calls, std::size_t first) const {
  for (std::size_t i = first; i < calls.size(); ++i) {
    KernelCall& call = calls[i];
    if (call.cls != &kAllReduceNccl) continue;
    const auto limit = custom_all_reduce_max_bytes_.find(static_cast<int>(call.dims[0]));
    if (limit != custom_all_reduce_max_bytes_.end() && call.dims[1] < limit->second) {
      call.cls = &kAllReduceCustom;
    }
  }
}

double StepKernels::factor(const KernelCall& call) const {
  double factor = 1;
  for (const auto& [name, value] : class_factor_) {
    if (call.cls->name == name) factor = value;
  }
  if (call.cls == &kGemm && call.dims[0] > sustained_tokens_) factor *= sustained_factor_;
  return factor;
}

}  // namespace orrery
