#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// Layers computed on the host's cores, where their weights or their KV cache stay in host memory (FlexGen,
// Sheng et al., 2023, section 4; PowerInfer, Song et al., 2023; FastDecode, He and Zhai, 2024). Lane cpu;
// Work::host_bytes is what the cores read and write in host memory.

/// y[m,n] = x[m,k] W[k,n], 16-bit weights, few rows. dims: m, n, k.
extern const KernelClass kHostGemm;
/// One query per sequence against KV in host memory. dims: seqs, context (summed), heads, kv_heads, head_dim.
extern const KernelClass kHostAttentionDecode;

}  // namespace orrery
