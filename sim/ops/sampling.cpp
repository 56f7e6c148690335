#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

constexpr KernelClass kSampling{
    "sampling", KernelClass::Scaling::logits, {"rows", "vocab"}, "softmax and choice over the vocabulary"};

void Sampling::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.logit_rows() == 0) return;
  const auto rows = static_cast<double>(batch.logit_rows()), vocab = static_cast<double>(vocab_);
  const double logits = rows * vocab;
  KernelCall call;
  call.cls = &kSampling;
  call.dims = {rows, vocab};
  call.dtype = call.weight_dtype = DType::fp32;
  call.role = "sampling";
  call.work.vector_flops = 5 * logits;
  call.work.hbm_read_bytes =
      logits * (bytes_per_element(ctx.precision.activation) + bytes_per_element(DType::fp32));
  call.work.hbm_write_bytes = logits * bytes_per_element(DType::fp32);
  out.push_back(call);
}

const Registration<KernelClasses> sampling_class{"sampling", "softmax and sampling over the vocabulary",
                                                 &kSampling};

}  // namespace orrery
