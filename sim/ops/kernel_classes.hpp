#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// The kernel classes of the dense decoder. Each is defined in the .cpp of the operator that issues it;
// further operators declare theirs in their own headers. `Registry<KernelClasses>` lists them all (`orrery
// list kernels`).

/// y[m,n] = x[m,k] W[k,n]. dims: m, n, k.
extern const KernelClass kGemm;
/// Logits of the sampled rows, a GEMM that depends on rows instead of tokens. dims: m, n, k.
extern const KernelClass kLmHead;
/// Causal attention of prompt chunks, all chunks of a step in one variable-length launch.
/// dims: seqs, new_tokens (sum), pairs (query-key pairs computed, sum), kv_tokens (keys read, sum),
///       max_kv (longest), heads, kv_heads, head_dim. Windows are already inside pairs, kv_tokens and max_kv.
extern const KernelClass kAttentionPrefill;
/// One query per sequence against a paged KV cache. dims: seqs, context (KV tokens read, sum), heads,
/// kv_heads, head_dim.
extern const KernelClass kAttentionDecode;
/// Memory-bound row-wise kernels: norms, rope, activation, residual, KV write, quantisation, embedding.
/// dims: tokens, bytes_per_token.
extern const KernelClass kElementwise;
/// Softmax and sampling over the vocabulary. dims: rows, vocab.
extern const KernelClass kSampling;
/// Collectives among `ranks` GPUs on `bytes` of payload per rank. dims: ranks, bytes.
extern const KernelClass kAllReduceNccl;
extern const KernelClass kAllReduceCustom;
extern const KernelClass kAllGather;
extern const KernelClass kSendRecv;
extern const KernelClass kSendRecvNetwork;

/// Registry kind for kernel classes: the factory is the class itself.
struct KernelClasses {
  static constexpr const char* kind = "kernel class";
  using Factory = const KernelClass*;
};

}  // namespace orrery
