#include "ops/attention_merge.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
/// out = sum_s exp(lse_s - max) partial_s / sum_s exp(lse_s - max) (Dao, FlashAttention-2, 2023, section
/// 3.1.1): per partial an exponential, its subtraction and the two sums, and a multiply and add per element.
Work merge_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double partials = dims[0] * dims[1], dim = dims[2];
  Work w;
  w.vector_flops = partials * (2 * dim + 4);
  w.hbm_read_bytes = partials * (dim + 1) * bytes_per_element(DType::fp32);
  w.hbm_write_bytes = dims[0] * dim * bytes_per_element(activation_format(dtype));
  return w;
}
}  // namespace

constexpr KernelClass kAttentionMerge{"attention_merge",
                                      KernelClass::Scaling::decode,
                                      {"rows", "splits", "head_dim"},
                                      "merge of partial attention outputs by log-sum-exp",
                                      merge_work};

const Registration<KernelClasses> attention_merge_class{
    "attention_merge", "merge of partial attention outputs by their log-sum-exp", &kAttentionMerge};

}  // namespace orrery
