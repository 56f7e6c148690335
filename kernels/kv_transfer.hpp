#pragma once

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Paged blocks of several pools (K and V of each layer) to or from one contiguous buffer laid out
/// [blocks][pools][bytes].
struct KvTransferArgs {
  std::uint8_t* const* pools = nullptr;     ///< on the device: first byte of each pool
  const std::int32_t* block_ids = nullptr;  ///< on the device: [blocks]
  std::uint8_t* buffer = nullptr;           ///< on the device, or page-locked host memory
  int pools_count = 0, blocks = 0;
  std::int64_t bytes = 0;  ///< of one block in one pool, a multiple of 16
};
void kv_gather(const KvTransferArgs& args, StreamRef stream);
void kv_scatter(const KvTransferArgs& args, StreamRef stream);

}  // namespace orrery::kernels
