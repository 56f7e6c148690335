#pragma once

#include <cstddef>

#include "device/numeric.cuh"
#include "ops/dtype.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// y_e = x_e W_e^T for each expert e in one launch, W_e [n, k], x_e rows [start[e], start[e] + count[e]) of
/// x. How many rows an expert has is known on the device alone: a captured graph serves any routing.
struct GroupedGemmArgs {
  const void* x = nullptr;              ///< [rows, k]; with `token`, [tokens, k]
  const void* w = nullptr;              ///< [experts, n, k]
  const std::int32_t* start = nullptr;  ///< [experts]: an expert's first row
  const std::int32_t* count = nullptr;  ///< [experts]: its rows, may be 0
  const std::int32_t* token = nullptr;  ///< [rows]: row of x that row r reads; nullptr: r itself
  /// fp8 only: of the rows of x, and [experts, n] of the columns of y. bf16: nullptr.
  const float* x_scale = nullptr;
  const float* w_scale = nullptr;
  bf16* y = nullptr;              ///< [rows, n]; rows of no expert are not written
  std::int64_t rows = 0;          ///< about how many all experts have together: chooses the tile
  int n = 0, k = 0, experts = 0;  ///< n a multiple of 8, k of 16 bytes, experts up to kMaxGroupedExperts
  DType format = DType::bf16;     ///< of x and w: bf16, or fp8 (compute capability 8.9 and later)
};

inline constexpr int kMaxGroupedExperts = 512;

/// Memory of launches that follow each other on one stream: parts of sums where few tiles share the device.
class GroupedGemmWorkspace {
 public:
  explicit GroupedGemmWorkspace(int sm_count);
  float* partials() const { return partials_.data(); }
  int* counters() const { return counters_.data(); }
  int sm_count() const { return sm_count_; }

 private:
  int sm_count_;
  DeviceArray<float> partials_;
  DeviceArray<int> counters_;  ///< zero between launches
};

void gemm_grouped(const GroupedGemmArgs& args, const GroupedGemmWorkspace& workspace, StreamRef stream);

/// Shared memory of a block, which a device must offer.
std::size_t gemm_grouped_shared_bytes();

}  // namespace orrery::kernels
