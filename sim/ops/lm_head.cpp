#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

namespace {
Work lm_head_work(const KernelClass::Dims& dims, DType dtype, DType weight_dtype) {
  const double m = dims[0], n = dims[1], k = dims[2];
  const double element = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 2 * m * n * k;
  w.tensor_dtype = dtype;
  w.weight_bytes = stored_matrix_bytes(weight_dtype, k, n);
  w.hbm_read_bytes = m * k * element + w.weight_bytes;
  w.hbm_write_bytes = m * n * element;
  return w;
}
}  // namespace

constexpr KernelClass kLmHead{"lm_head",       KernelClass::Scaling::logits,
                              {"m", "n", "k"}, "logits of the sampled rows",
                              lm_head_work,    &kGemm};

double LmHead::matrix_bytes(const LoweringContext& ctx) const {
  return stored_matrix_bytes(ctx.precision.lm_head, static_cast<double>(hidden_),
                             static_cast<double>(local_vocab(vocab_, ctx.shard.tp)));
}

void LmHead::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.logit_rows() == 0) return;
  const auto m = static_cast<double>(batch.logit_rows()), k = static_cast<double>(hidden_);
  const auto n = static_cast<double>(local_vocab(vocab_, ctx.shard.tp));
  const double element = bytes_per_element(ctx.precision.activation);
  KernelCall call = make_call(kLmHead, {m, n, k}, ctx.precision.lm_head, ctx.precision.lm_head);
  call.role = "lm_head";
  call.work.hbm_read_bytes = m * k * element + call.work.weight_bytes;
  call.work.hbm_write_bytes = m * n * element;
  out.push_back(call);
}

double LmHead::parameters() const {
  return tied_ ? 0 : static_cast<double>(vocab_) * static_cast<double>(hidden_);
}

double LmHead::weight_bytes(const LoweringContext& ctx) const {
  return tied_ ? 0 : matrix_bytes(ctx);
}

const Registration<KernelClasses> lm_head_class{"lm_head", "logits of the sampled rows", &kLmHead};

}  // namespace orrery
