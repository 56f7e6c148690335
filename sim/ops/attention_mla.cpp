#include "ops/attention_mla.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
/// Per head and key 2 (latent + rope) for q' c and 2 latent for p c (DeepSeek-V2, 2024, eq. 9-19 with W_UK
/// and W_UV absorbed), and 5 of softmax as any attention. A key's row is read once for all heads, as K and as
/// V.
Work mla_decode_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  const double seqs = dims[0], keys = dims[1], heads = dims[2], latent = dims[3], rope = dims[4];
  const double activation = bytes_per_element(activation_format(dtype));
  Work w;
  w.tensor_flops = 2 * keys * heads * (2 * latent + rope);
  w.tensor_dtype = dtype;
  w.vector_flops = 5 * keys * heads;
  w.hbm_read_bytes =
      seqs * heads * (latent + rope) * activation + keys * (latent + rope) * bytes_per_element(kv_dtype);
  w.hbm_write_bytes = seqs * heads * latent * activation;
  return w;
}
}  // namespace

constexpr KernelClass kAttentionMlaDecode{"attention_mla_decode",
                                          KernelClass::Scaling::decode,
                                          {"seqs", "context", "heads", "latent", "rope"},
                                          "one absorbed query per sequence against paged latents (MLA)",
                                          mla_decode_work};

const Registration<KernelClasses> attention_mla_decode_class{
    "attention_mla_decode", "one absorbed query per sequence against its paged latents",
    &kAttentionMlaDecode};

}  // namespace orrery
