#include "ops/elementwise.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
/// The dimensions tell the traffic alone; how it divides into reads and writes, and the few operations on it,
/// only the operator knows.
Work row_work(const KernelClass::Dims& dims, DType, DType) {
  Work w;
  w.hbm_read_bytes = w.hbm_write_bytes = dims[0] * dims[1] / 2;
  return w;
}
}  // namespace

constexpr KernelClass kElementwise{"elementwise",
                                   KernelClass::Scaling::tokens,
                                   {"tokens", "bytes_per_token"},
                                   "row-wise memory-bound kernels",
                                   row_work};

namespace {
constexpr KernelClass row_class(std::string_view name, std::string_view help) {
  return {name, KernelClass::Scaling::tokens, kElementwise.dims, help, row_work, &kElementwise};
}
}  // namespace

constexpr KernelClass kNorm =
    row_class("norm", "RMSNorm or LayerNorm, with the residual added before or not");
constexpr KernelClass kRope = row_class("rope", "rotary embedding of q and k, with or without the KV write");
constexpr KernelClass kKvWrite = row_class("kv_write", "K and V into the paged cache");
constexpr KernelClass kActivation = row_class("activation", "SwiGLU, GeGLU and their like");
constexpr KernelClass kResidualAdd = row_class("residual_add", "a plain addition");
constexpr KernelClass kQuantise = row_class("quantise", "activations to 8 bits");
constexpr KernelClass kEmbedding = row_class("embedding", "rows gathered by token");

namespace {
bool quantised(const LinearFormat& format, DType activation) {
  return bytes_per_element(format.compute) < bytes_per_element(activation);
}
/// Bytes per element of what a norm or activation hands to the linear layer after it.
double output_element(const LoweringContext& ctx, bool feeds_linear, Module module) {
  const LinearFormat format = ctx.precision.linear(module);
  const bool folded =
      feeds_linear && ctx.fusion.quant_into_norm && quantised(format, ctx.precision.activation);
  return bytes_per_element(folded ? format.compute : ctx.precision.activation);
}
}  // namespace

bool quantise_needed(const LoweringContext& ctx, Producer producer, Module module) {
  const LinearFormat format = ctx.precision.linear(module);
  if (!quantised(format, ctx.precision.activation)) return false;
  if (format.compute == DType::fp8 && ctx.fusion.quant_in_fp8_gemm) return false;
  return !(ctx.fusion.quant_into_norm && producer != Producer::attention);
}

void push_elementwise(const KernelClass& cls, std::string_view role, const BatchShape& batch,
                      const LoweringContext& ctx, const RowTraffic& traffic, KernelCalls& out) {
  const auto tokens = static_cast<double>(batch.dense_tokens());
  if (tokens == 0) return;
  KernelCall call;
  call.cls = &cls;
  call.dims = {tokens, traffic.read + traffic.write};
  call.dtype = call.weight_dtype = ctx.precision.activation;
  call.role = role;
  call.work.vector_flops = tokens * traffic.flops;
  call.work.weight_bytes = traffic.weight_bytes;
  call.work.hbm_read_bytes = tokens * traffic.read + traffic.weight_bytes;
  call.work.hbm_write_bytes = tokens * traffic.write;
  out.push_back(call);
}

RmsNorm::RmsNorm(std::string_view role, std::int64_t width, bool residual, bool feeds_linear, Module module)
    : role_(role),
      width_(static_cast<double>(width)),
      residual_(residual),
      feeds_linear_(feeds_linear),
      module_(module) {}

double RmsNorm::weight_bytes(const LoweringContext& ctx) const {
  return width_ * bytes_per_element(ctx.precision.activation);
}

void RmsNorm::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double row = width_ * bytes_per_element(ctx.precision.activation);
  const double result = width_ * output_element(ctx, feeds_linear_, module_);
  const bool fused = residual_ && ctx.fusion.norm_residual;
  if (residual_ && !fused)
    push_elementwise(kResidualAdd, "residual_add", batch, ctx, {2 * row, row, width_}, out);
  RowTraffic traffic{row, result, 4 * width_, weight_bytes(ctx)};
  if (fused) traffic.read += row, traffic.write += row, traffic.flops += width_;
  push_elementwise(kNorm, role_, batch, ctx, traffic, out);
}

double QkNorm::weight_bytes(const LoweringContext& ctx) const {
  return parameters() * bytes_per_element(ctx.precision.activation);
}

void QkNorm::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto width = static_cast<double>(
      (sizes_.local_heads(ctx.shard.tp) + sizes_.local_kv_heads(ctx.shard.tp)) * sizes_.head_dim);
  const double row = width * bytes_per_element(ctx.precision.activation);
  push_elementwise(kNorm, "qk_norm", batch, ctx, {row, row, 4 * width, weight_bytes(ctx)}, out);
}

void RopeKvWrite::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const double element = bytes_per_element(ctx.precision.activation);
  const auto dim = static_cast<double>(sizes_.head_dim);
  const double q = static_cast<double>(sizes_.local_heads(ctx.shard.tp)) * dim;
  const double k = write_ ? static_cast<double>(sizes_.local_kv_heads(ctx.shard.tp)) * dim : 0;
  const double v = write_ ? static_cast<double>(sizes_.local_kv_heads(ctx.shard.tp) * sizes_.values()) : 0;
  const double cached = write_ ? sizes_.kv_bytes_per_token(ctx) : 0;
  const double table = dim * element;
  if (rope_ && write_ && ctx.fusion.rope_kv_write) {
    push_elementwise(kRope, "rope", batch, ctx,
                     {(q + k + v) * element + table, q * element + cached, 3 * (q + k)}, out);
    return;
  }
  if (rope_) {
    push_elementwise(kRope, "rope", batch, ctx, {(q + k) * element + table, (q + k) * element, 3 * (q + k)},
                     out);
  }
  if (write_) push_elementwise(kKvWrite, "kv_write", batch, ctx, {(k + v) * element, cached}, out);
}

void Activation::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const auto width = static_cast<double>(width_.local_width(ctx.shard.tp));
  const double row = width * bytes_per_element(ctx.precision.activation);
  const double result = width * output_element(ctx, true, module_);
  if (!gated_) {
    push_elementwise(kActivation, "activation", batch, ctx, {row, result, 4 * width}, out);
  } else if (ctx.fusion.activation_mul) {
    push_elementwise(kActivation, "activation", batch, ctx, {2 * row, result, 5 * width}, out);
  } else {
    push_elementwise(kActivation, "activation", batch, ctx, {row, row, 4 * width}, out);
    push_elementwise(kActivation, "activation_mul", batch, ctx, {2 * row, result, width}, out);
  }
}

void Quantise::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (!quantise_needed(ctx, producer_, module_)) return;
  const auto width = static_cast<double>(width_.local_width(split_ ? ctx.shard.tp : 1));
  push_elementwise(kQuantise, "quantise", batch, ctx,
                   {width * bytes_per_element(ctx.precision.activation),
                    width * bytes_per_element(ctx.precision.linear(module_).compute), 2 * width},
                   out);
}

const Registration<KernelClasses> elementwise_class{
    "elementwise", "row-wise memory-bound kernels of any kind", &kElementwise};
const Registration<KernelClasses> norm_class{"norm", std::string(kNorm.help), &kNorm};
const Registration<KernelClasses> rope_class{"rope", std::string(kRope.help), &kRope};
const Registration<KernelClasses> kv_write_class{"kv_write", std::string(kKvWrite.help), &kKvWrite};
const Registration<KernelClasses> activation_class{"activation", std::string(kActivation.help), &kActivation};
const Registration<KernelClasses> residual_add_class{"residual_add", std::string(kResidualAdd.help),
                                                     &kResidualAdd};
const Registration<KernelClasses> quantise_class{"quantise", std::string(kQuantise.help), &kQuantise};
const Registration<KernelClasses> embedding_class{"embedding", std::string(kEmbedding.help), &kEmbedding};

}  // namespace orrery
