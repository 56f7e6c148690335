#include "ops/block_select.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

/// One vector: q . k, 2 operations per element; two: the larger of q min and q max, added up (Quest,
/// algorithm 1), 4. Per score an addition over the heads of a group and a comparison. Summaries are read once
/// for all heads of their KV head; a score of 4 bytes is written and read, a block's number written.
Work block_select_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double seqs = dims[0], blocks = dims[1], heads = dims[2], kv_heads = dims[3], dim = dims[4];
  const double vectors = dims[6], element = bytes_per_element(activation_format(dtype));
  const double scores = blocks * kv_heads * 4;
  Work w;
  w.vector_flops = 2 * vectors * blocks * heads * dim + 2 * blocks * heads;
  w.hbm_read_bytes = (seqs * heads + blocks * kv_heads * vectors) * dim * element + scores;
  w.hbm_write_bytes = scores + seqs * kv_heads * dims[5] * 4;
  return w;
}

/// Decode attention, and four bytes for the place of each token and KV head.
Work attention_selected_work(const KernelClass::Dims& dims, DType dtype, DType kv_dtype) {
  Work w = kAttentionDecode.work(dims, dtype, kv_dtype);
  w.hbm_read_bytes += dims[1] * dims[3] * 4;
  return w;
}

}  // namespace

constexpr KernelClass kBlockSelect{"block_select",
                                   KernelClass::Scaling::decode,
                                   {"seqs", "blocks", "heads", "kv_heads", "head_dim", "selected", "vectors"},
                                   "scores of KV blocks and the choice of the best",
                                   block_select_work};
constexpr KernelClass kAttentionSelected{"attention_selected",
                                         KernelClass::Scaling::decode,
                                         {"seqs", "context", "heads", "kv_heads", "head_dim"},
                                         "one query per sequence against selected blocks of paged KV",
                                         attention_selected_work,
                                         &kAttentionDecode};

const Registration<KernelClasses> block_select_class{
    "block_select", "scores of KV blocks by summaries of their keys, and the choice of the best",
    &kBlockSelect};
const Registration<KernelClasses> attention_selected_class{
    "attention_selected", "one query per sequence against the selected blocks of its paged KV cache",
    &kAttentionSelected};

}  // namespace orrery
