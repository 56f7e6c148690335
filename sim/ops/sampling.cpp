#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

namespace {
/// 16-bit logits are turned into probabilities in `dtype`, which are read and written once more.
Work sampling_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double count = dims[0] * dims[1];
  Work w;
  w.vector_flops = 5 * count;
  w.hbm_read_bytes = count * (bytes_per_element(DType::bf16) + bytes_per_element(dtype));
  w.hbm_write_bytes = count * bytes_per_element(dtype);
  return w;
}
}  // namespace

constexpr KernelClass kSampling{"sampling",
                                KernelClass::Scaling::logits,
                                {"rows", "vocab"},
                                "softmax and choice over the vocabulary",
                                sampling_work};

void Sampling::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.logit_rows() == 0) return;
  const auto rows = static_cast<double>(batch.logit_rows()), vocab = static_cast<double>(vocab_);
  KernelCall call = make_call(kSampling, {rows, vocab}, DType::fp32, DType::fp32);
  call.role = "sampling";
  call.work.hbm_read_bytes =
      rows * vocab * (bytes_per_element(ctx.precision.activation) + bytes_per_element(DType::fp32));
  out.push_back(call);
}

const Registration<KernelClasses> sampling_class{"sampling", "softmax and sampling over the vocabulary",
                                                 &kSampling};

}  // namespace orrery
