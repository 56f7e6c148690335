#include "ops/moe_product_key.hpp"

#include <cmath>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/moe.hpp"

namespace orrery {

namespace {
Work gather_experts_work(const KernelClass::Dims& dims, DType dtype, DType weight_dtype) {
  const double tokens = dims[0], rows = dims[1], hidden = dims[2], distinct = dims[3];
  const double row = hidden * bytes_per_element(activation_format(dtype));
  Work w;
  w.vector_flops = 4 * tokens * rows * hidden;
  w.weight_bytes = 2 * distinct * hidden * bytes_per_element(weight_dtype);
  w.hbm_read_bytes = tokens * (row + rows * 8) + w.weight_bytes;  // a row's number and weight, 4 bytes each
  w.hbm_write_bytes = tokens * row;
  return w;
}
}  // namespace

constexpr KernelClass kExpertGather{"expert_gather",
                                    KernelClass::Scaling::tokens,
                                    {"tokens", "rows", "hidden", "distinct"},
                                    "experts of one neuron, looked up and applied",
                                    gather_experts_work};

ProductKeyExperts::ProductKeyExperts(const MoeParams& params, std::int64_t hidden)
    : params_(params),
      hidden_(static_cast<double>(hidden)),
      root_(std::round(std::sqrt(static_cast<double>(params.experts)))) {}

double ProductKeyExperts::heads(const LoweringContext& ctx) const {
  return static_cast<double>(UnitGroup{params_.query_heads}.local_units(ctx.shard.tp));
}
double ProductKeyExperts::retrieval_parameters(double heads) const {
  const auto key = static_cast<double>(params_.key_width);
  return hidden_ * heads * key + root_ * key;
}
double ProductKeyExperts::parameters() const {
  return retrieval_parameters(params_.query_heads) + 2.0 * params_.experts * hidden_;
}
double ProductKeyExperts::active_parameters() const {
  return retrieval_parameters(params_.query_heads) + 2.0 * params_.query_heads * params_.active * hidden_;
}
double ProductKeyExperts::weight_bytes(const LoweringContext& ctx) const {
  return retrieval_parameters(heads(ctx)) * bytes_per_element(ctx.precision.activation) +
         2.0 * params_.experts * hidden_ * bytes_per_element(ctx.precision.linear(Module::experts).weight);
}

void ProductKeyExperts::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto tokens = static_cast<double>(batch.dense_tokens());
  if (tokens == 0) return;
  const DType format = ctx.precision.activation;
  const auto key = static_cast<double>(params_.key_width), k = static_cast<double>(params_.active);
  const double queries = tokens * heads(ctx), rows = heads(ctx) * k;
  const auto push = [&](std::string_view role, const KernelClass& cls, const KernelClass::Dims& dims,
                        DType weights) {
    out.push_back(make_call(cls, dims, format, weights));
    out.back().role = role;
  };
  push("query", kGemm, {tokens, heads(ctx) * key, hidden_}, format);
  push("keys", kGroupedGemm, {2 * queries, root_, key / 2, 2, 2}, format);
  push("retrieval", kMoeRouting, {queries, 2 * root_ + k * k, k, 0}, format);
  const double distinct = expected_active_experts(tokens, params_.experts, rows);
  push("experts", kExpertGather, {tokens, rows, hidden_, distinct},
       ctx.precision.linear(Module::experts).weight);
}

const Registration<KernelClasses> expert_gather_class{
    "expert_gather", "experts of one neuron, looked up and applied", &kExpertGather};

}  // namespace orrery
