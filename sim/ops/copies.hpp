#pragma once

#include "ops/kernel_call.hpp"

namespace orrery {

// What moves data without computing, and what an engine pays around its kernels. Times of the last five are
// not durations of kernels: see each.

/// Copies between page-locked host memory and the device, divided over `streams` copies at once. dims: bytes
/// (all streams together), streams. Lane copy.
extern const KernelClass kCopyH2D;
extern const KernelClass kCopyD2H;
/// The same from and to pageable memory, which the driver stages through its own buffers.
extern const KernelClass kCopyH2DPageable;
extern const KernelClass kCopyD2HPageable;
/// Within the device: every byte is read and written.
extern const KernelClass kCopyD2D;

/// Paged KV blocks to or from one contiguous device buffer, before or after they cross a link. dims: blocks,
/// block_bytes (K and V of all layers that travel together).
extern const KernelClass kKvGather;
extern const KernelClass kKvScatter;
/// The same straight to and from page-locked host memory, which the kernel addresses itself.
extern const KernelClass kKvOffload;
extern const KernelClass kKvRestore;

/// Host seconds to enqueue `kernels` launches one after the other. dims: kernels.
extern const KernelClass kLaunchHost;
/// Device seconds of a chain of `kernels` empty kernels, each waiting for the one before. dims: kernels.
extern const KernelClass kLaunchDevice;
/// Host seconds of one replay of a graph of `nodes` kernels; device seconds of its chain. dims: nodes.
extern const KernelClass kGraphHost;
extern const KernelClass kGraphDevice;
/// Host seconds to write a step's inputs into page-locked memory: ids, positions, slots, lengths and block
/// tables. dims: seqs, blocks (entries of the block tables, summed). Lane cpu.
extern const KernelClass kHostStep;

}  // namespace orrery
