#include "ops/host_compute.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {
namespace {

/// Activations stay in fp32 on the host.
Work host_gemm_work(const KernelClass::Dims& dims, DType, DType weight_dtype) {
  const double m = dims[0], n = dims[1], k = dims[2];
  Work w;
  w.vector_flops = 2 * m * n * k;
  w.host_bytes = n * k * bytes_per_element(weight_dtype) + 4 * m * (n + k);
  return w;
}

/// Q K^T and P V, 4 head_dim operations per head and key, and 5 of the softmax; K and V read once.
Work host_attention_work(const KernelClass::Dims& dims, DType, DType weight_dtype) {
  const double seqs = dims[0], context = dims[1], heads = dims[2], kv_heads = dims[3], head_dim = dims[4];
  Work w;
  w.vector_flops = context * heads * (4 * head_dim + 5);
  w.host_bytes =
      2 * context * kv_heads * head_dim * bytes_per_element(weight_dtype) + 8 * seqs * heads * head_dim;
  return w;
}

}  // namespace

constexpr KernelClass kHostGemm{"host_gemm",
                                KernelClass::Scaling::tokens,
                                {"m", "n", "k"},
                                "a linear layer on the host's cores",
                                host_gemm_work};
constexpr KernelClass kHostAttentionDecode{"host_attention_decode",
                                           KernelClass::Scaling::decode,
                                           {"seqs", "context", "heads", "kv_heads", "head_dim"},
                                           "decode attention on the host's cores",
                                           host_attention_work};

namespace {
const Registration<KernelClasses> host_gemm{"host_gemm", "a linear layer on the host's cores", &kHostGemm};
const Registration<KernelClasses> host_attention_decode{
    "host_attention_decode", "decode attention on the host's cores", &kHostAttentionDecode};
}  // namespace

}  // namespace orrery
