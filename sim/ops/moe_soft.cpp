#include "ops/moe_soft.hpp"

#include "ops/elementwise.hpp"
#include "ops/expert_exchange.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

double SoftMixing::weight_bytes(const LoweringContext& ctx) const {
  return parameters() * bytes_per_element(ctx.precision.activation);
}

void SoftMixing::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto tokens = static_cast<double>(batch.dense_tokens());
  if (tokens == 0) return;
  const DType format = ctx.precision.activation;
  const double local = slots_ / ExpertSplit(ctx).ranks;
  const auto product = [&](std::string_view role, const KernelClass::Dims& dims, bool weights) {
    KernelCall call = make_call(kGemm, dims, format, format);
    if (!weights) call.work.weight_bytes = 0;  // both factors were computed
    call.role = role;
    out.push_back(call);
  };
  if (side_ == Side::out_of_slots) return product("slots_to_tokens", {tokens, hidden_, local}, false);
  product("slot_logits", {tokens, slots_, hidden_}, true);
  // Two softmaxes, over tokens and over slots: 5 operations per logit each.
  const double row = slots_ * bytes_per_element(format);
  push_elementwise(kElementwise, "slot_weights", batch, ctx, {2 * row, 2 * row, 10 * slots_}, out);
  product("tokens_to_slots", {local, hidden_, tokens}, false);
}

}  // namespace orrery
