#include "ops/attention_unfused.hpp"

#include "base/registry.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

/// What the three have in common, in elements.
struct Sizes {
  double queries, pairs, keys, square;
  explicit Sizes(const KernelClass::Dims& dims)
      : queries(dims[0] * dims[3] * dims[5]),
        pairs(dims[1] * dims[3]),
        keys(dims[2] * dims[4] * dims[5]),
        square(dims[1] * dims[3] * dims[5]) {}
};

Work scores_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const Sizes s(dims);
  Work w;
  w.tensor_flops = 2 * s.square;
  w.tensor_dtype = dtype;
  w.hbm_read_bytes = s.queries * bytes_per_element(dtype) + s.keys * kv_bytes_per_element(kv_dtype);
  w.hbm_write_bytes = s.pairs * bytes_per_element(dtype);
  return w;
}

Work softmax_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const Sizes s(dims);
  Work w;
  w.vector_flops = 5 * s.pairs;
  w.hbm_read_bytes = w.hbm_write_bytes = s.pairs * bytes_per_element(dtype);
  return w;
}

Work values_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const Sizes s(dims);
  Work w;
  w.tensor_flops = 2 * s.square;
  w.tensor_dtype = dtype;
  w.hbm_read_bytes = s.pairs * bytes_per_element(dtype) + s.keys * kv_bytes_per_element(kv_dtype);
  w.hbm_write_bytes = s.queries * bytes_per_element(dtype);
  return w;
}

constexpr std::array<std::string_view, 8> kDims{"queries", "pairs", "keys", "heads", "kv_heads", "head_dim"};

}  // namespace

constexpr KernelClass kAttentionScores{"attention_scores", KernelClass::Scaling::prefill, kDims,
                                       "Q K^T through the memory", scores_work};
constexpr KernelClass kAttentionSoftmax{"attention_softmax", KernelClass::Scaling::prefill, kDims,
                                        "softmax of scores in memory", softmax_work};
constexpr KernelClass kAttentionValues{"attention_values", KernelClass::Scaling::prefill, kDims,
                                       "P V through the memory", values_work};

void push_unfused_attention(const KernelClass::Dims& dims, DType dtype, DType kv_dtype, KernelCalls& out) {
  const double row = dims[3] * dims[5] * bytes_per_element(dtype);
  KernelCall scale = make_call(kElementwise, {dims[0], 2 * row}, dtype, dtype);
  scale.work.vector_flops = dims[0] * dims[3] * dims[5];
  scale.work.hbm_read_bytes = scale.work.hbm_write_bytes = dims[0] * row;
  out.push_back(scale);
  for (const KernelClass* cls : {&kAttentionScores, &kAttentionSoftmax, &kAttentionValues}) {
    out.push_back(make_call(*cls, dims, dtype, kv_dtype));
  }
  for (auto call = out.end() - 4; call != out.end(); ++call) call->role = "attention";
}

const Registration<KernelClasses> attention_scores_class{
    "attention_scores", "Q K^T of unfused attention, the scores written to memory", &kAttentionScores};
const Registration<KernelClasses> attention_softmax_class{
    "attention_softmax", "the masked softmax of unfused attention over scores in memory", &kAttentionSoftmax};
const Registration<KernelClasses> attention_values_class{
    "attention_values", "P V of unfused attention, the probabilities read from memory", &kAttentionValues};

}  // namespace orrery
