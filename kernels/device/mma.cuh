#pragma once

#include "device/numeric.cuh"
#include "device/warp.cuh"

namespace orrery::kernels {

// Tensor cores through mma.sync (Ampere and later). Fragments by lane, with g = lane / 4 and t = lane % 4
// (PTX ISA, "Matrix fragments for mma.m16n8k16"): A row-major, B column-major, each register two adjacent
// elements along k:
//   a[0] A[g][2t..]  a[1] A[g+8][2t..]  a[2] A[g][2t+8..]  a[3] A[g+8][2t+8..]
//   b[0] B[2t..][g]  b[1] B[2t+8..][g]
//   c[0], c[1] C[g][2t], C[g][2t+1]     c[2], c[3] C[g+8][2t], C[g+8][2t+1]

#if !defined(__CUDACC__)
/// The emulator's c += A[16,k] B[k,8] for operands of `per` elements in a register, k = 8 per:
/// element(register, i) is its i-th.
template <int per, class C, class Element>
inline void emulated_mma(C (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         Element&& element) {
  struct Fragments {
    std::uint32_t a[4], b[2];
  } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, all[kWarpSize];
  emulator::warp_exchange(&mine, sizeof mine, all);
  const int g = lane_id() / 4, t = lane_id() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
    C sum = 0;
    for (int k = 0; k < 8 * per; ++k) {
      const int at = k % (4 * per) / per, upper = k / (4 * per);
      sum += element(all[row % 8 * 4 + at].a[row / 8 + 2 * upper], k % per) *
             element(all[column * 4 + at].b[upper], k % per);
    }
    c[i] += sum;
  }
}
#endif

/// c += A[16,16] B[16,8], T = bf16 or fp16, accumulated in float.
template <class T>
ORRERY_DEVICE void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<T, bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  emulated_mma<2>(c, a, b, [](std::uint32_t pair, int i) {
    return to_float(T{static_cast<std::uint16_t>(pair >> 16 * i)});
  });
#endif
}

/// c += A[16,32] B[32,8] of int8, accumulated in int32. Fragments as above with four elements along k in a
/// register: a[0] A[g][4t..], a[1] A[g+8][4t..], a[2] A[g][4t+16..], a[3] A[g+8][4t+16..]; b[0] B[4t..][g],
/// b[1] B[4t+16..][g].
ORRERY_DEVICE void mma_m16n8k32_s8(int (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma<4>(c, a, b, [](std::uint32_t four, int i) {
    return static_cast<int>(static_cast<std::int8_t>(four >> 8 * i));
  });
#endif
}

/// c += A[16,32] B[32,8] of fp8 (E4M3), accumulated in float. Fragments as mma_m16n8k32_s8. Needs compute
/// capability 8.9: a kernel that reaches it on less stops.
ORRERY_DEVICE void mma_m16n8k32_fp8(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
  __trap();
#elif defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma<4>(c, a, b, [](std::uint32_t four, int i) {
    return to_float(fp8{static_cast<std::uint8_t>(four >> 8 * i & 0xffU)});
  });
#endif
}

/// Four 8x8 matrices of 16-bit elements from shared memory: lane 8i + r gives the address of row r of matrix
/// i (16 bytes, aligned); register i of lane l receives elements 2(l%4), 2(l%4)+1 of row l/4 of matrix i.
/// `transposed`: of column l/4.
template <bool transposed = false, class T>
ORRERY_DEVICE void load_matrices(std::uint32_t (&r)[4], const T* row) {
  static_assert(sizeof(T) == 2);
#if defined(__CUDACC__)
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
#else
  emulator::require_aligned(row, 16);
  const T* rows[kWarpSize];
  emulator::warp_exchange(&row, sizeof row, rows);
  const int major = lane_id() / 4, pair = lane_id() % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    const auto at = [&](int line, int element) {
      return static_cast<std::uint32_t>(rows[8 * i + line][element].bits);
    };
    r[i] = transposed ? at(pair, major) | at(pair + 1, major) << 16
                      : at(major, pair) | at(major, pair + 1) << 16;
  }
#endif
}

}  // namespace orrery::kernels
