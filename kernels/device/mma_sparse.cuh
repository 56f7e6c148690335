#pragma once

#include "device/numeric.cuh"
#include "device/warp.cuh"

namespace orrery::kernels {

/// c += A[16,32] B[32,8] in bf16, accumulated in float, where of every four neighbours along A's rows two are
/// stored: A's 16 stored columns have the fragments of a dense A[16,16] (device/mma.cuh), B's are
/// b[i] B[2t+8i..][g]. `metadata`: an index (0..3) in its four for each stored element, 2 bits, the lower
/// element's first and smaller; bits 0-15 belong to row g, 16-31 to row g+8. It is read from the lanes
/// 4g + 2 selector (columns 0-15 of A) and 4g + 2 selector + 1 (columns 16-31). (PTX ISA, "Matrix fragments
/// for sparse mma.m16n8k32 with .f16 and .bf16 types".)
template <int selector>
ORRERY_DEVICE void mma_sparse_m16n8k32(float (&c)[4], const std::uint32_t (&a)[4],
                                       const std::uint32_t (&b)[4], std::uint32_t metadata) {
  static_assert(selector == 0 || selector == 1);
#if defined(__CUDACC__)
  asm volatile(
      "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
      "{%4,%5,%6,%7}, "
      "{%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, %13;"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(metadata),
        "n"(selector));
#else
  struct Fragments {
    std::uint32_t a[4], b[4], metadata;
  } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1], b[2], b[3]}, metadata}, all[kWarpSize];
  emulator::warp_exchange(&mine, sizeof mine, all);
  const auto half = [](std::uint32_t pair, int i) {
    return to_float(bf16{static_cast<std::uint16_t>(pair >> 16 * i)});
  };
  const int g = lane_id() / 4, t = lane_id() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
    float sum = 0;
    for (int stored = 0; stored < 16; ++stored) {
      const int pair = stored % 8 / 2, upper = stored / 8;
      const std::uint32_t indices = all[row % 8 * 4 + 2 * selector + upper].metadata;
      const int index = static_cast<int>(indices >> (16 * (row / 8) + stored % 8 * 2) & 3U);
      const int k = stored / 2 * 4 + index;
      sum += half(all[row % 8 * 4 + pair].a[row / 8 + 2 * upper], stored % 2) *
             half(all[column * 4 + k % 8 / 2].b[k / 8], k % 2);
    }
    c[i] += sum;
  }
#endif
}

}  // namespace orrery::kernels
