#include "cost/step_kernels.hpp"

#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"

namespace orrery {

StepKernels::StepKernels(const ModelSpec& model, const Shard& shard, const KernelPlan& plan,
                         KernelCostModelPtr cost, OperatorPtr input)
    : context_{shard, plan.precision, plan.fusion},
      lowering_(model, context_),
      input_(std::move(input)),
      cost_(std::move(cost)),
      class_factor_(plan.class_factor.begin(), plan.class_factor.end()),
      custom_all_reduce_max_bytes_(plan.custom_all_reduce_max_bytes),
      sustained_factor_(plan.sustained_gemm_factor),
      sustained_tokens_(static_cast<double>(plan.sustained_tokens)) {}

void StepKernels::lower(const BatchShape& batch, KernelClass::Scaling only, KernelCalls& out) const {
  const std::size_t first = out.size();
  if (input_ && only == KernelClass::Scaling::tokens) input_->lower(batch, context_, out);
  lowering_.lower(batch, only, out);
  if (only == KernelClass::Scaling::tokens || only == KernelClass::Scaling::logits)
    choose_collectives(out, first);
}

void StepKernels::lower(const EncoderParams& encoder, std::span<const Image> images, KernelCalls& out) const {
  const std::size_t first = out.size();
  encoder.lower(images, context_, out);
  choose_collectives(out, first);
}

void StepKernels::lower(const BatchShape& batch, KernelCalls& out) const {
  const std::size_t first = out.size();
  if (input_) input_->lower(batch, context_, out);
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

namespace {

/// A matrix that every rank holds whole.
class ReplicatedLinear final : public Operator {
 public:
  ReplicatedLinear(std::string_view role, std::int64_t inputs, std::int64_t outputs)
      : linear_(role, {{inputs, 1}}, {{outputs, 1}}, TensorSplit::columns, false) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override {
    linear_.lower(batch, whole(ctx), out);
  }
  double parameters() const override { return linear_.parameters(); }
  double weight_bytes(const LoweringContext& ctx) const override { return linear_.weight_bytes(whole(ctx)); }

 private:
  static LoweringContext whole(LoweringContext ctx) {
    ctx.shard = Shard{};
    return ctx;
  }
  Linear linear_;
};

}  // namespace

OperatorPtr joining_projection(const ModelSpec& model, int inputs) {
  if (inputs == 0) return nullptr;
  return std::make_shared<ReplicatedLinear>("draft_input", inputs * model.hidden, model.hidden);
}

}  // namespace orrery
